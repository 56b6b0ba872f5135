// The live dashboard of `orchard serve`.
import { render } from "preact";
import "../parts/theme.css";
import { keepTheme } from "../parts/theme";
import { App } from "./App";
import "./dashboard.css";
import { begin } from "./state";

keepTheme();
const root = document.getElementById("app");
if (root) render(<App />, root);
void begin();
