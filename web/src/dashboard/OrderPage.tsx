// One order: how it stands, where and when; and the task that was chosen.
import { useEffect } from "preact/hooks";
import { Failures } from "../parts/Failures";
import { Filters } from "../parts/Filters";
import { counted, moment } from "../parts/format";
import { Matrix } from "../parts/Matrix";
import type { View } from "../parts/order";
import { TaskCard } from "../parts/TaskCard";
import { TaskTable } from "../parts/TaskTable";
import { TileMap } from "../parts/TileMap";
import { Totals } from "../parts/Totals";
import { OrderActions, TaskActions } from "./Actions";
import { orderPath } from "./api";
import { Quicklooks } from "./Quicklooks";
import { details, go, hashOf, live } from "./state";

export function OrderPage({ view }: { view: View }) {
  const { model } = view.order;
  useEffect(() => {
    // Two frames on, all canvases have been painted.
    requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("orchard-drawn")));
  }, []);
  return (
    <>
      <div class="page-head">
        <div>
          <h1>{model.name}</h1>
          <p class="muted">
            {model.submitted && `submitted ${moment(Date.parse(model.submitted))} UTC`}
            {model.engine && `, made by ${model.engine}`}
          </p>
          <Idle view={view} />
        </div>
        <div class="buttons">
          <OrderActions view={view} />
          <a class="button" href={`${orderPath(model.name)}/report`} target="_blank" rel="noopener">
            Report
          </a>
        </div>
      </div>
      <Totals view={view} />
      <Filters view={view} />
      <div class="plan">
        <section class="panel plan-matrix" aria-labelledby="matrix-title">
          <h2 id="matrix-title">Tiles and periods</h2>
          <Matrix view={view} />
        </section>
        <div class="plan-card">
          <Chosen view={view} />
        </div>
        <div class="columns plan-rest">
          <section class="panel" aria-labelledby="map-title">
            <h2 id="map-title">Map</h2>
            <TileMap view={view} />
          </section>
          <section class="panel" aria-labelledby="failures-title">
            <h2 id="failures-title">Failures</h2>
            <Failures view={view} />
          </section>
        </div>
      </div>
      <section class="panel" aria-labelledby="table-title">
        <h2 id="table-title">Tasks</h2>
        <TaskTable view={view} onOpen={(task) => go(model.name, task)} />
      </section>
    </>
  );
}

/** Nothing comes of what waits, unless somebody works on it. */
function Idle({ view }: { view: View }) {
  const { order } = view;
  void order.version.value;
  const counts = order.counts();
  const waiting = [..."UQ"].reduce((sum, code) => sum + counts[order.code[code]!]!, 0);
  if (live.works.value || waiting === 0) return null;
  return (
    <p class="idle muted">
      This server does not work on orders: {counted(waiting, "task")} {waiting === 1 ? "waits" : "wait"} for{" "}
      <code>orchard run</code>.
    </p>
  );
}

function Chosen({ view }: { view: View }) {
  const task = view.selected.value;
  if (task < 0) return <TaskCard view={view} />;
  const name = view.order.model.name;
  const found = details.value;
  return (
    <TaskCard view={view}>
      <TaskActions view={view} task={task} can={found?.can} />
      <p>
        <a href={hashOf(name, task)}>Log, metadata and files</a>
      </p>
      {found && found.quicklooks.length > 0 && <Quicklooks order={name} task={task} names={found.quicklooks} />}
    </TaskCard>
  );
}
