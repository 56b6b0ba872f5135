// Bundles the pages into src/orchard/report/static; called by build.py.
//   node build.mjs FOLDER
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { build } from "esbuild";

const out = path.resolve(process.argv[2] ?? "../src/orchard/report/static");
await mkdir(out, { recursive: true });
const { metafile } = await build({
  entryPoints: { report: "src/report/main.tsx", dashboard: "src/dashboard/main.tsx" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: "es2022",
  charset: "utf8",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  metafile: true,
  logLevel: "warning",
});

// Their licences ask that the notices go wherever the code goes.
for (const [file, { inputs }] of Object.entries(metafile.outputs)) {
  if (!file.endsWith(".js")) continue;
  const packages = new Set(
    Object.keys(inputs).flatMap((name) => name.match(/node_modules\/(@[^/]+\/[^/]+|[^/]+)/)?.[1] ?? []),
  );
  const notices = await Promise.all([...packages].sort().map(notice));
  const text = notices.join("\n\n").replaceAll("*/", "* /").replaceAll("</", "< /");
  const target = path.resolve(file);
  await writeFile(target, `${(await readFile(target, "utf8")).trimEnd()}\n/*! This page holds:\n\n${text}\n*/\n`);
}

async function notice(name) {
  const folder = path.join("node_modules", name);
  const { version } = JSON.parse(await readFile(path.join(folder, "package.json"), "utf8"));
  const file = (await readdir(folder)).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  return `${name} ${version}\n${(await readFile(path.join(folder, file), "utf8")).trim()}`;
}
