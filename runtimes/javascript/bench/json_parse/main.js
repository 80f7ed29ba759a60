// Every record as a line of JSON, and back.

import { records, write } from "collective";

export function run(args) {
  const names = args.split(",");
  let total = 0;
  for (const record of records()) {
    const line = JSON.stringify(Object.fromEntries(names.map((name, place) => [name, record[place]])));
    total += Number(JSON.parse(line).age);
  }
  write(`${total}\n`);
}
