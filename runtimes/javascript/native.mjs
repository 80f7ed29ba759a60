// Runs a program by an ordinary Node.js, to compare with: node native.mjs FOLDER ARGUMENTS <records >output
import { readFileSync, writeSync } from "node:fs";
import { register } from "node:module";
import { pathToFileURL } from "node:url";

const world = `data:text/javascript,${encodeURIComponent("export const { records, write, log, seed } = globalThis.collective;")}`;
const find = `export const resolve = (name, context, next) => name === "collective" ?
  { url: ${JSON.stringify(world)}, format: "module", shortCircuit: true } :
  next(name, context).then((found) => found.url.startsWith("file:") ? { ...found, format: "module" } : found);`;
globalThis.collective = {
  *records() {
    const text = readFileSync(0, "utf8");
    for (const record of text ? text.slice(0, -1).split("\n") : []) yield record.split(",");
  },
  write: (data) => writeSync(1, data),
  log() {},
  seed: () => new Uint8Array(32),
};
register(`data:text/javascript,${encodeURIComponent(find)}`);
const [folder, args] = process.argv.slice(2);
const { run } = await import(`${pathToFileURL(folder)}/main.js`);
await run(args);
