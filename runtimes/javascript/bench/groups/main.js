// Counts, and sums of ages, in groups by two columns.

import { records, write } from "collective";

export function run(args) {
  const names = args.split(",");
  const [party, educ, age] = ["PID", "educ", "age"].map((name) => names.indexOf(name));
  const groups = new Map();
  for (const record of records()) {
    const name = `${record[party]},${record[educ]}`;
    const group = groups.get(name) ?? { count: 0, ages: 0 };
    group.count++;
    group.ages += Number(record[age]);
    groups.set(name, group);
  }
  for (const name of [...groups.keys()].sort()) {
    const { count, ages } = groups.get(name);
    write(`${name},${count},${ages / count}\n`);
  }
}
