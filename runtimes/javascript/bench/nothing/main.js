// What the others are measured against: every record is read, and nothing is done with it.

import { records, write } from "collective";

export function run() {
  let count = 0;
  for (const _ of records()) count++;
  write(`${count}\n`);
}
