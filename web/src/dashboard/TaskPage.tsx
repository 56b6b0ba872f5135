// One task: its state, what happened to it, what was found and made, and what can be done about it.
import type { ComponentChildren } from "preact";
import { bytes, count, counted, span } from "../parts/format";
import type { View } from "../parts/order";
import { STATE_TEXT, Swatch } from "../parts/states";
import { TaskActions } from "./Actions";
import type { Block, Details, Image, Scene } from "./api";
import { quicklookPath } from "./api";
import { dayOf } from "./Quicklooks";
import { details, hashOf } from "./state";

const SHOWN = 60;

export function TaskPage({ view, task }: { view: View; task: number }) {
  const { order } = view;
  void order.version.value;
  const name = order.model.name;
  if (task >= order.n) return <p class="wait">This order has no task {task}.</p>;
  const found = details.value;
  const place = order.place(task);
  const cause = found?.error ?? order.causes.get(task);
  return (
    <>
      <p class="crumbs">
        <a href={hashOf(name)}>← {name}</a>
      </p>
      <div class="page-head">
        <div>
          <h1>{place ? `${order.model.tiles.label[place.tile]}, ${order.period(place.period)}` : `Task ${task}`}</h1>
          <p class="state-line">
            <Swatch code={order.letter(task)} /> <strong>{order.stateName(task)}</strong>
            <span class="muted"> {STATE_TEXT[order.stateName(task)]}</span>
          </p>
        </div>
        <div class="buttons">
          <TaskActions view={view} task={task} can={found?.can} />
          <Neighbour name={name} task={task - 1} n={order.n} text="Previous" />
          <Neighbour name={name} task={task + 1} n={order.n} text="Next" />
        </div>
      </div>
      {cause && <p class="cause">{cause}</p>}
      {found ? (
        <Found order={name} task={task} found={found} runtime={order.runtime(task)} />
      ) : (
        <p class="wait">One moment…</p>
      )}
    </>
  );
}

function Neighbour({ name, task, n, text }: { name: string; task: number; n: number; text: string }) {
  if (task < 0 || task >= n) return null;
  return (
    <a class="button" href={hashOf(name, task)}>
      {text}
    </a>
  );
}

function Found({ order, task, found, runtime }: { order: string; task: number; found: Details; runtime: number | null }) {
  return (
    <>
      <div class="columns">
        <section class="panel" aria-labelledby="facts-title">
          <h2 id="facts-title">Facts</h2>
          <dl class="facts">
            <Row name="Name" value={<code>{found.name}</code>} />
            <Row name="Folder" value={<code>{found.prefix}</code>} />
            <Row name="Id" value={<code>{found.id}</code>} />
            <Row name="Collection" value={found.image?.collection} />
            <Row name="Recorded" value={time(found.created)} />
            <Row name="Started" value={time(found.started)} />
            <Row name="Updated" value={time(found.updated)} />
            <Row name="Runtime" value={runtime !== null && span(runtime)} />
            <Row name="Attempts" value={found.attempt} />
            <Row name="Bands" value={found.image?.bands.join(", ")} />
          </dl>
        </section>
        <section class="panel" aria-labelledby="blocks-title">
          <h2 id="blocks-title">Blocks</h2>
          <Blocks blocks={found.blocks} />
          {found.files.length > 0 && (
            <>
              <h3>{counted(found.files.length, "file")}</h3>
              <ul class="files">
                {found.files.map((file) => (
                  <li key={file.name}>
                    <code>{file.name}</code> <span class="muted">{file.bytes !== null && bytes(file.bytes)}</span>
                  </li>
                ))}
              </ul>
            </>
          )}
        </section>
      </div>
      {found.quicklooks.length > 0 && (
        <section class="panel" aria-labelledby="quicklooks-title">
          <h2 id="quicklooks-title">Quicklooks</h2>
          <ul class="gallery">
            {found.quicklooks.slice(0, SHOWN).map((name) => (
              <li key={name}>
                <a href={quicklookPath(order, task, name)} target="_blank" rel="noopener">
                  <img src={quicklookPath(order, task, name)} alt={`Quicklook of ${dayOf(name)}`} loading="lazy" />
                </a>
                <p>{dayOf(name)}</p>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section class="panel" aria-labelledby="log-title">
        <h2 id="log-title">Log</h2>
        <pre class="log" tabIndex={0} aria-labelledby="log-title">
          {joined(found.log) || "Nothing has happened yet."}
        </pre>
      </section>
      {found.image && <Acquisitions image={found.image} />}
    </>
  );
}

function Row({ name, value }: { name: string; value: ComponentChildren }) {
  if (!value) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}

function Blocks({ blocks }: { blocks: Block[] }) {
  return (
    <ul class="blocks">
      {blocks.map((block) => (
        <li key={block.name}>
          <b>{block.name}</b> <span class={`block-state block-${block.state.replace(" ", "-")}`}>{block.state}</span>
          {block.started && block.finished && (
            <span class="muted"> {span((Date.parse(block.finished) - Date.parse(block.started)) / 1000)}</span>
          )}
          {block.error && <p class="cause">{block.error}</p>}
        </li>
      ))}
    </ul>
  );
}

/** The image's metadata: a row each acquisition; what its scenes have in common is told once. */
function Acquisitions({ image }: { image: Image }) {
  const shown = image.acquisitions.slice(0, SHOWN);
  const columns = columnsOf(shown.flatMap((one) => one.scenes));
  return (
    <section class="panel" aria-labelledby="acquisitions-title">
      <h2 id="acquisitions-title">{counted(image.count, "acquisition")}</h2>
      {image.count > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label="Acquisitions">
          <table>
            <thead>
              <tr>
                <th scope="col">Day</th>
                <th scope="col">Scene</th>
                <th scope="col">Time</th>
                {columns.map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.flatMap(({ day, scenes }) =>
                scenes.map((scene, index) => (
                  <tr key={`${day}-${scene.id}`}>
                    <td>{index === 0 ? day : ""}</td>
                    <td>
                      <code>{scene.id}</code>
                    </td>
                    <td>{scene.time.slice(11, 19)}</td>
                    {columns.map((name) => (
                      <td key={name}>{String(scene[name] ?? "")}</td>
                    ))}
                  </tr>
                )),
              )}
            </tbody>
          </table>
        </div>
      )}
      {image.count > shown.length && <p class="muted">and {count(image.count - shown.length)} more</p>}
    </section>
  );
}

function columnsOf(scenes: Scene[]): string[] {
  const names = new Set(scenes.flatMap((scene) => Object.keys(scene)));
  names.delete("id");
  names.delete("time");
  return [...names];
}

function joined(log: Record<string, string>): string {
  return Object.values(log).join("");
}

function time(text: string | null): string | null {
  return text && `${text.slice(0, 19).replace("T", " ")} UTC`;
}
