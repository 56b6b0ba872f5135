// The report of one order: reads the model from the page and draws it.
import { render } from "preact";
import "../parts/theme.css";
import { Clear, Monthly } from "../parts/Charts";
import { Failures } from "../parts/Failures";
import { Filters } from "../parts/Filters";
import { bytes, count, counted, moment } from "../parts/format";
import { Gallery } from "../parts/Gallery";
import { Matrix } from "../parts/Matrix";
import type { Model } from "../parts/model";
import { Order, View } from "../parts/order";
import { TaskCard } from "../parts/TaskCard";
import { TaskTable } from "../parts/TaskTable";
import { keepTheme } from "../parts/theme";
import { ThemeSwitch } from "../parts/ThemeSwitch";
import { TileMap } from "../parts/TileMap";
import { Totals } from "../parts/Totals";

function Report({ view }: { view: View }) {
  const { model } = view.order;
  const has = { failures: view.order.causes.size > 0, pictures: model.quicklooks.length > 0 };
  return (
    <>
      <a class="skip" href="#tasks">
        To the tasks
      </a>
      <Top model={model} />
      <main>
        <div class="panel">
          <Totals view={view} />
        </div>
        <div class="columns">
          <section class="panel" aria-labelledby="map-title">
            <h2 id="map-title">Tiles</h2>
            <TileMap view={view} />
          </section>
          <section class="panel" aria-labelledby="failures-title">
            <h2 id="failures-title">{has.pictures && !has.failures ? "Pictures" : "Failures by cause"}</h2>
            {has.failures ? (
              <Failures view={view} />
            ) : has.pictures ? (
              <Gallery view={view} first={8} />
            ) : (
              <p class="muted">Nothing has failed.</p>
            )}
          </section>
        </div>
        <div class="main-column">
          <section class="panel" aria-labelledby="tasks" >
            <h2 id="tasks" tabIndex={-1}>
              Tasks: {model.product ? "tiles and periods" : "by number"}
            </h2>
            <Filters view={view} />
            <Matrix view={view} />
            <details>
              <summary>As a table</summary>
              <TaskTable view={view} />
            </details>
          </section>
          <TaskCard view={view} />
        </div>
        <div class="columns">
          <section class="panel" aria-labelledby="monthly-title">
            <h2 id="monthly-title">Acquisitions per month</h2>
            <Monthly view={view} />
          </section>
          <section class="panel" aria-labelledby="clear-title">
            <h2 id="clear-title">Clear fraction through time</h2>
            <Clear view={view} />
          </section>
        </div>
        <div class="stack">
          {has.pictures && has.failures && (
            <section class="panel" aria-labelledby="pictures-title">
              <h2 id="pictures-title">Pictures</h2>
              <Gallery view={view} />
            </section>
          )}
          {model.cubes.length > 0 && <Cubes view={view} />}
          <Configuration model={model} />
        </div>
      </main>
      <footer class="foot">
        {model.notes.map((note) => (
          <p key={note}>{note}</p>
        ))}
        <p>
          Made on {moment(model.made)} UTC by Orchard {model.versions.orchard}. Times are UTC. Coastlines: Natural Earth.
        </p>
      </footer>
    </>
  );
}

function Top({ model }: { model: Model }) {
  const { name, version } = model.program as { name?: string; version?: string };
  return (
    <header class="top">
      <div>
        <h1>{model.name}</h1>
        <p>
          {model.collections.join(", ")}
          {model.submitted && `; submitted ${moment(Date.parse(utc(model.submitted)))} UTC`}
          {name && ` by ${name} ${version ?? ""}`}
          {model.engine && `, engine ${model.engine}`}
        </p>
      </div>
      <ThemeSwitch />
    </header>
  );
}

/** Times without a zone are UTC. */
function utc(text: string): string {
  return /([zZ]|[+-]\d\d:?\d\d)$/.test(text) ? text : `${text}Z`;
}

const LISTED = 200;

function Cubes({ view }: { view: View }) {
  const { order } = view;
  const { cubes } = order.model;
  const size = cubes.reduce((sum, cube) => sum + cube.bytes, 0);
  return (
    <section class="panel" aria-labelledby="cubes-title">
      <h2 id="cubes-title">
        {counted(cubes.length, "cube")}, {bytes(size)}
      </h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Cubes">
        <table>
          <thead>
            <tr>
              <th scope="col">Cube</th>
              <th scope="col">Format</th>
              <th scope="col">Tasks</th>
              <th scope="col">Size</th>
              <th scope="col">STAC</th>
            </tr>
          </thead>
          <tbody>
            {cubes.slice(0, LISTED).map((cube) => (
              <tr key={cube.href}>
                <th scope="row">
                  <a href={cube.href}>{decodeURI(cube.href)}</a>
                </th>
                <td>{cube.format}</td>
                <td class="number">{count(cube.tasks.length)}</td>
                <td class="number">{bytes(cube.bytes)}</td>
                <td>
                  <a href={cube.item} aria-label={`STAC Item of ${decodeURI(cube.href)}`}>
                    Item
                  </a>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {cubes.length > LISTED && <p class="muted">and {count(cubes.length - LISTED)} more: see the cards of the tasks</p>}
    </section>
  );
}

function Configuration({ model }: { model: Model }) {
  const versions = Object.entries({ ...flat(model.program) });
  return (
    <section class="panel" aria-labelledby="config-title">
      <h2 id="config-title">Configuration and versions</h2>
      <dl class="facts">
        <dt>Order made by</dt>
        <dd>{versions.filter(([, value]) => value).map(([key, value]) => (key === "name" ? value : key === "version" ? value : `${key} ${value}`)).join(" ")}</dd>
        <dt>Report made by</dt>
        <dd>
          {Object.entries(model.versions)
            .map(([key, value]) => `${key} ${value}`)
            .join(", ")}
        </dd>
        <dt>Collections</dt>
        <dd>{model.collections.join(", ")}</dd>
        <dt>Tiles</dt>
        <dd>
          {model.tiles.label.slice(0, 40).join(", ")}
          {model.tiles.label.length > 40 && ` and ${count(model.tiles.label.length - 40)} more`}
        </dd>
      </dl>
      <details>
        <summary>All of it, as JSON</summary>
        <pre tabIndex={0}>{JSON.stringify(model.config, null, 2)}</pre>
      </details>
    </section>
  );
}

function flat(program: Record<string, unknown>): Record<string, string> {
  return Object.fromEntries(Object.entries(program).map(([key, value]) => [key, String(value)]));
}

function start(): void {
  performance.mark("orchard-start");
  const root = document.getElementById("app")!;
  const data = document.getElementById("model")!.textContent!;
  const model = JSON.parse(data) as Model;
  document.title = `${model.name} · Orchard`;
  keepTheme();
  render(<Report view={new View(new Order(model))} />, root);
  // Two frames on, canvases are drawn and on the screen.
  requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("orchard-drawn")));
}

start();
