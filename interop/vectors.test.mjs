// The vectors of sealing, read by JavaScript: node --test vectors.test.mjs, with VECTORS naming the folder vectors/.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { Decrypter, Encrypter } from "age-encryption";
import { contextBytes, contributionTo, readContribution, SECOND_GENERATOR } from "./contribution.mjs";

const vectors = (name) => JSON.parse(readFileSync(`${process.env.VECTORS}/seal/${name}.json`, "utf8"));
const bytes = (text) => Uint8Array.from(Buffer.from(text, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const context = ({ chain_id, ...names }) => ({
  chainId: chain_id,
  ...Object.fromEntries(Object.entries(names).map(([name, text]) => [name, bytes(text)])),
});

test("the second generator is SPEC's", () => {
  assert.equal(SECOND_GENERATOR.toHex(true), "0279e315cf458d4e7985dc8fa21b7afe8c4d8edab4ae1a01d54604332ab937ea24");
});

for (const vector of vectors("contributions")) {
  test(`a contribution to ${vector.recipient.slice(0, 12)}… is read alike`, () => {
    const read = readContribution(vector.header, vector.recipient, context(vector.context));
    assert.equal(hex(contextBytes(context(vector.context))), vector.context_bytes);
    assert.equal(read.proven, true);
    assert.equal(hex(read.point), vector.point);
    assert.equal(hex(read.pointId), vector.point_id);
    assert.equal(hex(read.headerSha256), vector.header_sha256);
  });
}

for (const { name, header, recipient, context: of, refused } of vectors("refused")) {
  test(`${name}: ${refused ?? "accepted"}`, () => {
    const read = () => readContribution(header, recipient, context(of));
    if (refused === null) read();
    else assert.throws(read, { message: refused });
  });
}

for (const vector of vectors("files").filter(({ stanza }) => stanza === "X25519")) {
  test("typage opens a file of ours to an X25519 key", async () => {
    const decrypter = new Decrypter();
    decrypter.addIdentity(vector.identity);
    assert.equal(hex(await decrypter.decrypt(bytes(vector.file))), vector.plaintext);
  });
}

for (const { recipient, context: of } of vectors("contributions")) {
  test(`typage makes a contribution to ${recipient.slice(0, 12)}… that holds, and for one contributor only`, async () => {
    const encrypter = new Encrypter();
    encrypter.addRecipient(contributionTo(recipient, context(of)));
    const file = Buffer.from(await encrypter.encrypt("a record"));
    // Up to the line feed after the MAC, which is 43 characters behind "--- ".
    const header = file.subarray(0, file.indexOf("\n--- ") + "\n--- ".length + 43 + 1).toString("latin1");
    assert.equal(readContribution(header, recipient, context(of)).proven, true);
    const another = { ...context(of), contributor: new Uint8Array(32) };
    assert.throws(() => readContribution(header, recipient, another), { message: /does not hold/ });
  });
}
