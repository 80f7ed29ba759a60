// Writes artifacts/NAME.json = {contractName, abi, bytecode, storage} from forge's out/. Deterministic: same sources, same
// bytes. `storage` says where each variable and each struct member lies, for whoever proves a slot.
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** What the Rust side binds to. TimelockController is OpenZeppelin's own, deployed unchanged. */
const CONTRACTS = [
  "CodeRegistry",
  "CollectiveGovernor",
  "ContributionRegistry",
  "DemoToken",
  "JobEscrow",
  "LivenessRegistry",
  "Membership",
  "NodeRegistry",
  "RewardDistributor",
  "TimelockController",
];

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const target = process.argv[2] ?? join(root, "artifacts");

mkdirSync(target, { recursive: true });
for (const file of readdirSync(target)) if (file.endsWith(".json")) rmSync(join(target, file));
for (const contractName of CONTRACTS) {
  const { abi, bytecode, storageLayout } = JSON.parse(readFileSync(join(root, "out", `${contractName}.sol`, `${contractName}.json`), "utf8"));
  if (Object.keys(bytecode.linkReferences ?? {}).length > 0) throw new Error(`${contractName} needs linking`);
  writeFileSync(join(target, `${contractName}.json`), `${JSON.stringify({ contractName, abi, bytecode: bytecode.object, storage: storage(storageLayout) })}\n`);
}

/** Variables by name, struct members by `Struct.member` with slots counted from the struct's own first one. */
function storage({ storage: variables, types }) {
  const place = ({ slot, offset, type }) => ({ slot: Number(slot), offset, type: types[type].label });
  const places = variables.map((variable) => [variable.label, place(variable)]);
  for (const { label, members = [] } of Object.values(types ?? {})) {
    const name = label.replace(/^struct (.*\.)?/, "");
    for (const member of members) places.push([`${name}.${member.label}`, place(member)]);
  }
  return Object.fromEntries(places);
}
