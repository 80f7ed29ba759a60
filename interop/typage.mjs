// The age client for JavaScript, as a command: seals or opens standard input to standard output.
//
//   node typage.mjs seal RECIPIENT | open IDENTITY | contribute RECIPIENT CONTEXT
//
// CONTEXT is SPEC's, in hexadecimal: chain id, registry, collective, contributor, nonce.
import { buffer } from "node:stream/consumers";
import { Decrypter, Encrypter } from "age-encryption";
import { contributionTo } from "./contribution.mjs";

const [verb, key, context] = process.argv.slice(2);
const input = new Uint8Array(await buffer(process.stdin));

function parseContext(text) {
  const bytes = Buffer.from(text, "hex");
  const [chainId, registry, collective, contributor, nonce] = [0, 8, 28, 48, 80].map((at, i, starts) =>
    bytes.subarray(at, starts[i + 1]),
  );
  return { chainId: chainId.readBigUInt64BE(), registry, collective, contributor, nonce };
}

async function run() {
  if (verb === "seal" || verb === "contribute") {
    const encrypter = new Encrypter();
    encrypter.addRecipient(verb === "seal" ? key : contributionTo(key, parseContext(context)));
    return encrypter.encrypt(input);
  }
  if (verb === "open") {
    const decrypter = new Decrypter();
    decrypter.addIdentity(key);
    return decrypter.decrypt(input);
  }
  throw new Error(`no verb ${verb}`);
}

process.stdout.write(await run());
