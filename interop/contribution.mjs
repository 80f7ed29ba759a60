// A contribution's sender in JavaScript, from SPEC.md alone: the collective stanza with a sender proof as a custom
// recipient of typage, and the check that every node makes of a header. Knows no network and no registry.
import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { p256 } from "@noble/curves/nist.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256, sha384 } from "@noble/hashes/sha2.js";
import { sha3_256 } from "@noble/hashes/sha3.js";
import { ml_kem768 } from "@noble/post-quantum/ml-kem.js";
import { base64nopad, bech32 } from "@scure/base";
import { Stanza } from "age-encryption";

const PROOF = "collective-proof";
const POINT_BYTES = 65;
const CIPHERTEXT_BYTES = 1088;
const WRAPPED_KEY_BYTES = 32;
// age wraps bodies at 64 columns, which is 48 bytes.
const BODY_LINE_BYTES = 48;
// A hybrid recipient has 2,060 characters; BIP 173's limit of 90 is not age's.
const LONGEST_RECIPIENT = 4096;

const { Point } = p256;
const ORDER = Point.Fn.ORDER;
const ascii = (text) => new TextEncoder().encode(text);
const join = (...parts) => Uint8Array.from(parts.flatMap((part) => [...part]));
const integer = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const big = (value, length) => Uint8Array.from({ length }, (_, i) => Number((BigInt(value) >> BigInt(8 * (length - 1 - i))) & 255n));
const modulo = (value) => ((value % ORDER) + ORDER) % ORDER;
const uncompressed = (point) => point.toBytes(false);
const x = (point) => uncompressed(point).slice(1, 33);
const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

// SPEC "Sender proof": the second generator, whose logarithm nobody knows.
export const SECOND_GENERATOR = (() => {
  for (let counter = 0; ; counter++) {
    const candidate = sha256(join(ascii("collective/v1/second-generator"), [counter]));
    try {
      return Point.fromBytes(join([2], candidate));
    } catch {
      // No point has this x: the next byte.
    }
  }
})();

// A scalar from 48 random bytes; never zero.
function randomScalar() {
  const scalar = modulo(integer(crypto.getRandomValues(new Uint8Array(48))));
  return scalar === 0n ? randomScalar() : scalar;
}

// SPEC "Recipients": the P-256 point, the ML-KEM key of a hybrid recipient, and what the proof of each kind of stanza names:
// the hash of the string that such a stanza is made for.
export function parseRecipient(text) {
  const { prefix, words } = bech32.decode(text, LONGEST_RECIPIENT);
  const bytes = bech32.fromWords(words);
  const named = (string) => sha256(ascii(string.toLowerCase()));
  if (prefix === "age1tag") return { point: Point.fromBytes(bytes), names: { p256tag: named(text) } };
  if (prefix === "age1tagpq") {
    const point = Point.fromBytes(bytes.slice(-POINT_BYTES));
    const classical = bech32.encode("age1tag", bech32.toWords(point.toBytes(true)), LONGEST_RECIPIENT);
    const names = { p256tag: named(classical), mlkem768p256tag: named(text) };
    return { point, mlKem: bytes.slice(0, -POINT_BYTES), names };
  }
  throw new Error(`no collective recipient: ${prefix}`);
}

// SPEC "Sender proof": what a proof is bound to. Addresses and names are bytes, the chain id a number.
export function contextBytes({ chainId, registry, collective, contributor, nonce }) {
  return join(big(chainId, 8), registry, collective, contributor, nonce);
}

const KINDS = {
  p256tag: { encBytes: POINT_BYTES, kem: 0x0010, key: (point) => point.toBytes(true) },
  mlkem768p256tag: { encBytes: CIPHERTEXT_BYTES + POINT_BYTES, kem: 0x0050, key: uncompressed },
};

function tagOf(kind, enc, point) {
  const name = sha256(KINDS[kind].key(point)).slice(0, 4);
  return hmac(sha256, ascii(`age-encryption.org/${kind}`), join(enc, name)).slice(0, 4);
}

// RFC 9180 §4, §5.1: one message in base mode, HKDF-SHA256 and ChaCha20-Poly1305.
function labeled(suite) {
  return {
    extract: (salt, label, ikm) => extract(sha256, join(ascii("HPKE-v1"), suite, ascii(label), ikm), salt),
    expand: (key, label, info, length) =>
      expand(sha256, key, join(big(length, 2), ascii("HPKE-v1"), suite, ascii(label), info), length),
  };
}

function hpkeSeal(kem, secret, info, message) {
  const hkdf = labeled(join(ascii("HPKE"), big(kem, 2), [0, 1, 0, 3]));
  const none = new Uint8Array();
  const context = join([0], hkdf.extract(none, "psk_id_hash", none), hkdf.extract(none, "info_hash", info));
  const schedule = hkdf.extract(secret, "secret", none);
  const key = hkdf.expand(schedule, "key", context, 32);
  return chacha20poly1305(key, hkdf.expand(schedule, "base_nonce", context, 12)).encrypt(message);
}

function dhkemSecret(dh, enc, point) {
  const hkdf = labeled(join(ascii("KEM"), big(KINDS.p256tag.kem, 2)));
  const key = hkdf.extract(new Uint8Array(), "eae_prk", dh);
  return hkdf.expand(key, "shared_secret", join(enc, uncompressed(point)), 32);
}

// SPEC "Stanzas to a collective": the stanza, and the secret behind its point.
function encapsulate(recipient, fileKey) {
  const secret = randomScalar();
  const point = Point.BASE.multiply(secret);
  const dh = x(recipient.point.multiply(secret));
  const kind = recipient.mlKem ? "mlkem768p256tag" : "p256tag";
  let enc = uncompressed(point);
  let shared;
  if (recipient.mlKem) {
    const { cipherText, sharedSecret } = ml_kem768.encapsulate(recipient.mlKem);
    shared = sha3_256(join(sharedSecret, dh, enc, uncompressed(recipient.point), ascii("MLKEM768-P256")));
    enc = join(cipherText, enc);
  } else {
    shared = dhkemSecret(dh, enc, recipient.point);
  }
  const args = [kind, base64nopad.encode(tagOf(kind, enc, recipient.point)), base64nopad.encode(enc)];
  const body = hpkeSeal(KINDS[kind].kem, shared, ascii(`age-encryption.org/${kind}`), fileKey);
  return { stanza: new Stanza(args, body), secret, point };
}

// A stanza as it stands in the header, from its arrow to the line feed after its last body line.
function stanzaText({ args, body }) {
  const lines = [`-> ${args.join(" ")}`];
  for (let at = 0; at <= body.length; at += BODY_LINE_BYTES) {
    lines.push(base64nopad.encode(body.slice(at, at + BODY_LINE_BYTES)));
  }
  return `${lines.join("\n")}\n`;
}

function challenge(stanza, name, context, ...points) {
  const digest = sha256(ascii(stanzaText(stanza)));
  const domain = ascii("collective/v1/sender-proof");
  return modulo(integer(sha384(join(domain, contextBytes(context), name, digest, ...points.map(uncompressed)))));
}

function prove({ stanza, secret, point }, name, context) {
  const second = SECOND_GENERATOR.multiply(secret);
  const blind = randomScalar();
  const c = challenge(stanza, name, context, point, second, Point.BASE.multiply(blind), SECOND_GENERATOR.multiply(blind));
  const body = join(big(c, 32), big(modulo(blind + c * secret), 32));
  return new Stanza([PROOF, base64nopad.encode(uncompressed(second))], body);
}

// A recipient for typage's Encrypter.addRecipient: the collective, with the proof of who sends.
export function contributionTo(recipient, context) {
  const parsed = parseRecipient(recipient);
  return {
    wrapFileKey(fileKey) {
      const made = encapsulate(parsed, fileKey);
      return [made.stanza, prove(made, parsed.names[made.stanza.args[0]], context)];
    },
  };
}

// The stanzas of a header that is given as text. Its MAC needs the file key, which a node does not have.
function parseHeader(header) {
  const lines = header.split("\n");
  const stanzas = [];
  for (let at = 1; lines[at].startsWith("-> "); at++) {
    const args = lines[at].slice("-> ".length).split(" ");
    let body = "";
    let line;
    do {
      line = lines[++at];
      body += line;
    } while (line.length === 64);
    stanzas.push({ args, body: base64nopad.decode(body) });
  }
  return stanzas;
}

function parseCollectiveStanza({ args, body }) {
  const kind = KINDS[args[0]];
  const malformed = new Error("stanza: wrong arguments or body for its type");
  if (args.length !== 3 || body.length !== WRAPPED_KEY_BYTES) throw malformed;
  const [tag, enc] = args.slice(1).map((text) => base64nopad.decode(text));
  const encoded = enc.slice(-POINT_BYTES);
  if (tag.length !== 4 || enc.length !== kind.encBytes || encoded[0] !== 4) throw malformed;
  try {
    return { kind: args[0], tag, enc, point: Point.fromBytes(encoded) };
  } catch {
    throw new Error("stanza: invalid ephemeral key");
  }
}

function verify(proof, stanza, point, name, context) {
  const malformed = new Error("malformed sender proof");
  const second = proof.args.length === 2 ? base64nopad.decode(proof.args[1]) : [];
  if (second.length !== POINT_BYTES || proof.body.length !== 64) throw malformed;
  const [c, s] = [proof.body.slice(0, 32), proof.body.slice(32)].map(integer);
  if (c >= ORDER || s >= ORDER) throw malformed;
  const w = Point.fromBytes(second);
  // A = s·G − c·E and B = s·H − c·W.
  const a = Point.BASE.multiplyUnsafe(s).add(point.multiplyUnsafe(modulo(-c)));
  const b = SECOND_GENERATOR.multiplyUnsafe(s).add(w.multiplyUnsafe(modulo(-c)));
  if (a.is0() || b.is0() || challenge(stanza, name, context, point, w, a, b) !== c) {
    throw new Error("the sender proof does not hold for this contribution");
  }
}

// SPEC "Contributions": the rules for a header, without any secret. Throws the refusal.
export function readContribution(header, recipientText, context) {
  const recipient = parseRecipient(recipientText);
  const stanzas = parseHeader(header);
  const collective = stanzas.filter(({ args }) => args[0] in KINDS);
  const proofs = stanzas.filter(({ args }) => args[0] === PROOF);
  const parsed = collective.map(parseCollectiveStanza);
  if (parsed.length === 0) throw new Error("the file is not sealed to a collective");
  if (parsed.length > 1) throw new Error("the file has more than one collective stanza");
  const [{ kind, tag, enc, point }] = parsed;
  const offered = kind === "p256tag" || recipient.mlKem !== undefined;
  if (!offered || !equal(tag, tagOf(kind, enc, recipient.point))) throw new Error("the file is sealed to another key");
  if (proofs.length > 1) throw new Error("the file has more than one sender proof");
  if (proofs.length === 1) verify(proofs[0], collective[0], point, recipient.names[kind], context);
  return {
    proven: proofs.length === 1,
    point: uncompressed(point),
    pointId: sha256(join(ascii("collective/v1/point"), x(point))),
    headerSha256: sha256(ascii(header)),
  };
}
