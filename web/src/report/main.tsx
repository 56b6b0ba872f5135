// The report of one order: reads the model from the page and draws it.
import { render } from "preact";
import "../parts/theme.css";

const root = document.getElementById("app");
if (root) render(<p>The report is being written.</p>, root);
