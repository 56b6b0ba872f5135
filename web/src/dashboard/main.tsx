// The live dashboard of `orchard serve`.
import { render } from "preact";
import "../parts/theme.css";

const root = document.getElementById("app");
if (root) render(<p>The dashboard is being written.</p>, root);
