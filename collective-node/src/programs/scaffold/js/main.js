// How many people each group has, and the mean of their scores. Groups of fewer than SMALLEST are left out.
import { records, write } from "collective";

const SMALLEST = 3;

export function run(args) {
  const scores = new Map();
  for (const [group, score] of records()) {
    if (!scores.has(group)) scores.set(group, []);
    scores.get(group).push(Number(score));
  }
  const groups = [...scores]
    .filter(([, some]) => some.length >= SMALLEST)
    .map(([group, some]) => ({ group: Number(group), n: some.length, mean: some.reduce((a, b) => a + b) / some.length }))
    .sort((a, b) => a.group - b.group);
  write(JSON.stringify({ groups }));
}
