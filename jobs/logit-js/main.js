// logit: logistic regression with an intercept, by Newton's method to convergence.
//
// Arguments: names of the columns, joined by commas, as selected. The last is the outcome (0 or 1).
// Output: {"n":N,"columns":["intercept",names…],"coefficients":[numbers],"iterations":N}

import { records, write } from "collective";
import { improve } from "./newton.js";

const STEPS = 50;
const CLOSE = 1e-10; // relative change of every coefficient in the last step

export function run(args) {
  const names = args.split(",").slice(0, -1);
  const rows = [];
  for (const record of records()) rows.push([1, ...record.map(Number)]);
  // Sorted, so that the order in which floats are added is that of the rows and not of the input set.
  rows.sort((a, b) => a.map((value, place) => value - b[place]).find((difference) => difference) ?? 0);
  if (rows.some((row) => ![0, 1].includes(row.at(-1)))) throw new Error("the outcome is neither 0 nor 1");
  const coefficients = Array(names.length + 1).fill(0);
  for (let iterations = 1; iterations <= STEPS; iterations++) {
    if (improve(coefficients, rows) > CLOSE) continue;
    const result = { n: rows.length, columns: ["intercept", ...names], coefficients, iterations };
    write(`${JSON.stringify(result)}\n`);
    return;
  }
  throw new Error("no single answer: columns depend on each other, or separate the outcomes");
}
