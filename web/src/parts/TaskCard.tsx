// One task: its state, times, results and pictures. The dashboard adds buttons and the log.
import type { ComponentChildren } from "preact";
import { useSignal } from "@preact/signals";
import { bytes, count, day, moment, span } from "./format";
import type { View } from "./order";
import { STATE_TEXT, Swatch } from "./states";

export function TaskCard({ view, children }: { view: View; children?: ComponentChildren }) {
  const { order } = view;
  void order.version.value;
  const task = view.selected.value;
  if (task < 0) {
    return (
      <aside class="card card-empty" aria-label="Task">
        <p>Choose a cell to see its task.</p>
      </aside>
    );
  }
  const place = order.place(task);
  const dates = order.acquisitions(task);
  const runtime = order.runtime(task);
  const started = order.moment(order.started[task]!);
  const updated = order.moment(order.updated[task]!);
  const cause = order.causes.get(task);
  const size = order.bytes[task]!;
  const cubes = order.cubes(task);
  return (
    <aside class="card" aria-label="Task">
      <header>
        <h3>{place ? `${order.model.tiles.label[place.tile]}, ${order.period(place.period)}` : `Task ${task}`}</h3>
        <button type="button" class="quiet" aria-label="Close the task" onClick={() => (view.selected.value = -1)}>
          ×
        </button>
      </header>
      <p class="state-line">
        <Swatch code={order.letter(task)} /> <strong>{order.stateName(task)}</strong>
        <span class="muted"> {STATE_TEXT[order.stateName(task)]}</span>
      </p>
      {cause && <p class="cause">{cause}</p>}
      {children}
      <dl>
        <Row name="Name" value={<code>{breakable(order.name(task))}</code>} />
        <Row name="Folder" value={order.folder(task) && <code>{order.folder(task)}</code>} />
        {place && <Row name="Collection" value={order.model.collections[place.collection]} />}
        <Row name="Started" value={started && `${moment(started)} UTC`} />
        <Row name="Updated" value={updated && `${moment(updated)} UTC`} />
        <Row name="Runtime" value={runtime !== null && span(runtime)} />
        <Row name="Attempts" value={order.attempts.get(task)} />
        <Row name="Size" value={size > 0 && bytes(size)} />
        <Row name="Acquisitions" value={order.isKnown(task) && count(dates.length)} />
        <Row
          name="Cubes"
          value={
            cubes.length > 0 && (
              <>
                {cubes.map((cube) => (
                  <span key={cube.href}>
                    <a href={cube.href}>{cube.format}</a> (<a href={cube.item}>STAC</a>){" "}
                  </span>
                ))}
              </>
            )
          }
        />
      </dl>
      <Pictures view={view} task={task} />
      {dates.length > 0 && <Dates dates={dates} />}
    </aside>
  );
}

/** A name that may be broken after an underscore, rather than anywhere. */
function breakable(name: string): ComponentChildren {
  return name.split(/(?<=_)/).map((part, index) => (
    <>
      {index > 0 && <wbr />}
      {part}
    </>
  ));
}

function Row({ name, value }: { name: string; value: ComponentChildren }) {
  if (value === undefined || value === null || value === false || value === "" || value === 0) return null;
  return (
    <>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </>
  );
}

function Pictures({ view, task }: { view: View; task: number }) {
  const pictures = view.order.quicklooks(task);
  const at = useSignal(0);
  if (pictures.length === 0) return null;
  const number = Math.min(at.value, pictures.length - 1);
  const shown = pictures[number]!;
  return (
    <figure class="picture">
      <img src={shown.src} alt={`Quicklook of ${view.order.describe(task)}, ${day(shown.day)}`} />
      <figcaption>
        {day(shown.day)}
        {pictures.length > 1 && (
          <span class="buttons">
            <button type="button" disabled={number === 0} onClick={() => (at.value = number - 1)} aria-label="Earlier">
              ‹
            </button>
            {number + 1} of {pictures.length}
            <button
              type="button"
              disabled={number === pictures.length - 1}
              onClick={() => (at.value = number + 1)}
              aria-label="Later"
            >
              ›
            </button>
          </span>
        )}
      </figcaption>
    </figure>
  );
}

const SHOWN = 40;

function Dates({ dates }: { dates: { day: number; scenes: number; clear: number | null; cloud: number | null }[] }) {
  const clear = dates.some((one) => one.clear !== null);
  const cloud = dates.some((one) => one.clear === null && one.cloud !== null);
  return (
    <table class="dates">
      <thead>
        <tr>
          <th scope="col">Date</th>
          <th scope="col">Scenes</th>
          {clear && <th scope="col">Clear</th>}
          {cloud && <th scope="col">Cloud cover</th>}
        </tr>
      </thead>
      <tbody>
        {dates.slice(0, SHOWN).map((one) => (
          <tr key={one.day}>
            <td>{day(one.day)}</td>
            <td>{one.scenes}</td>
            {clear && <td>{one.clear === null ? "" : `${Math.round(one.clear)} %`}</td>}
            {cloud && <td>{one.cloud === null ? "" : `${Math.round(one.cloud)} %`}</td>}
          </tr>
        ))}
      </tbody>
      {dates.length > SHOWN && (
        <tfoot>
          <tr>
            <td colSpan={4}>and {dates.length - SHOWN} more</td>
          </tr>
        </tfoot>
      )}
    </table>
  );
}
