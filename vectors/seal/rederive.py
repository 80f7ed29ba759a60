#!/usr/bin/env python3
"""Re-derives the vectors beside it from SPEC.md, with nothing but Python's own library: curve, cipher and all.

Checks every part but ML-KEM itself, whose secret it takes from committee.json. Exits 1 at the first difference.
"""

import base64
import hashlib
import hmac
import json
import pathlib

HERE = pathlib.Path(__file__).parent

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0:
            return None
        slope = 3 * (a[0] ** 2 - 1) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope**2 - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def mul(k, point):
    result = None
    for bit in bin(k % N)[2:]:
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def neg(point):
    return point[0], -point[1] % P


def enc(point):
    return b"\4" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")


def compressed(point):
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def dec(data):
    assert len(data) == 65 and data[0] == 4
    x, y = int.from_bytes(data[1:33], "big"), int.from_bytes(data[33:], "big")
    assert (y * y - x**3 + 3 * x - B) % P == 0
    return x, y


def even(x):
    y = pow(x**3 - 3 * x + B, (P + 1) // 4, P)
    return None if (y * y - x**3 + 3 * x - B) % P else (x, y if y % 2 == 0 else P - y)


def wide(data):
    assert len(data) == 48
    return int.from_bytes(data, "big") % N


def scalar(k):
    return (k % N).to_bytes(32, "big")


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def sha384(*parts):
    return hashlib.sha384(b"".join(parts)).digest()


def mac(key, data):
    return hmac.new(key, data, "sha256").digest()


def hkdf(salt, ikm, info):
    return mac(mac(salt, ikm), info + b"\1")


def chacha(key, nonce, counter):
    state = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    state += [int.from_bytes(key[i : i + 4], "little") for i in range(0, 32, 4)]
    state += [counter] + [int.from_bytes(nonce[i : i + 4], "little") for i in range(0, 12, 4)]
    x = list(state)

    def step(a, b, d, turn):
        x[a] = (x[a] + x[b]) & 0xFFFFFFFF
        x[d] ^= x[a]
        x[d] = (x[d] << turn | x[d] >> 32 - turn) & 0xFFFFFFFF

    rounds = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    rounds += [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for _ in range(10):
        for a, b, c, d in rounds:
            step(a, b, d, 16), step(c, d, b, 12), step(a, b, d, 8), step(c, d, b, 7)
    return b"".join((s + t & 0xFFFFFFFF).to_bytes(4, "little") for s, t in zip(state, x))


def seal(key, nonce, plain):
    """ChaCha20-Poly1305 without additional data (RFC 8439)."""
    stream = b"".join(chacha(key, nonce, 1 + i // 64) for i in range(0, len(plain), 64))
    text = bytes(a ^ b for a, b in zip(plain, stream))
    one = chacha(key, nonce, 0)
    r = int.from_bytes(one[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    padded = text + bytes(-len(text) % 16) + bytes(8) + len(text).to_bytes(8, "little")
    total = 0
    for i in range(0, len(padded), 16):
        total = (total + int.from_bytes(padded[i : i + 16] + b"\1", "little")) * r % (2**130 - 5)
    tag = total + int.from_bytes(one[16:32], "little") & 2**128 - 1
    return text + tag.to_bytes(16, "little")


def hpke(kem, secret, info, plain):
    suite = b"HPKE" + kem + b"\0\1\0\3"

    def extract(salt, label, ikm):
        return mac(salt, b"HPKE-v1" + suite + label + ikm)

    def expand(prk, label, context, size):
        return mac(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context + b"\1")[:size]

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    prk = extract(secret, b"secret", b"")
    return seal(expand(prk, b"key", context, 32), expand(prk, b"base_nonce", context, 12), plain)


def b64(data):
    return base64.b64encode(data).decode().rstrip("=")


def unb64(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))


def stanza(arguments, body):
    text = b64(body)
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    if len(text) % 64 == 0:
        lines.append("")
    return ("-> " + " ".join(arguments) + "\n" + "\n".join(lines) + "\n").encode()


def bech32(text):
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    values = [alphabet.index(c) for c in text.lower().rsplit("1", 1)[1][:-6]]
    bits = "".join(f"{v:05b}" for v in values)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) // 8 * 8, 8))


class Coins:
    def __init__(self, text):
        self.left = bytes.fromhex(text)

    def take(self, size):
        taken, self.left = self.left[:size], self.left[size:]
        assert len(taken) == size
        return taken


def finish(stanzas, file_key, nonce, plain):
    head = b"age-encryption.org/v1\n" + b"".join(stanzas) + b"---"
    head += b" " + b64(mac(hkdf(b"", file_key, b"header"), head)).encode() + b"\n"
    assert len(plain) < 65536
    return head, nonce + seal(hkdf(nonce, file_key, b"payload"), bytes(11) + b"\1", plain)


def second_generator():
    for i in range(256):
        x = int.from_bytes(sha(b"collective/v1/second-generator", bytes([i])), "big")
        if x < P and even(x):
            return even(x)


def context_bytes(c):
    names = ["registry", "collective", "contributor", "nonce"]
    return c["chain_id"].to_bytes(8, "big") + b"".join(bytes.fromhex(c[n]) for n in names)


def tagged(recipient, file_key, r, ml_kem=None):
    """The collective stanza; `ml_kem` is (ciphertext, secret) for a hybrid one."""
    y = dec(recipient[-65:]) if len(recipient) > 33 else even(int.from_bytes(recipient[1:], "big"))
    if len(recipient) == 33 and recipient[0] == 3:
        y = neg(y)
    e, dh = mul(r, G), mul(r, y)[0].to_bytes(32, "big")
    if ml_kem:
        kind, kem, whole, name = "mlkem768p256tag", b"\0\x50", ml_kem[0] + enc(e), enc(y)
        secret = hashlib.sha3_256(ml_kem[1] + dh + enc(e) + enc(y) + b"MLKEM768-P256").digest()
    else:
        kind, kem, whole = "p256tag", b"\0\x10", enc(e)
        name = compressed(y)
        suite = b"KEM" + kem
        prk = mac(b"", b"HPKE-v1" + suite + b"eae_prk" + dh)
        secret = mac(prk, b"\0\x20HPKE-v1" + suite + b"shared_secret" + enc(e) + enc(y) + b"\1")
    info = b"age-encryption.org/" + kind.encode()
    tag = mac(info, whole + sha(name)[:4])[:4]
    return stanza([kind, b64(tag), b64(whole)], hpke(kem, secret, info, file_key)), e


def proof(text, e, r, k, context, recipient):
    h = second_generator()
    w = mul(r, h)
    parts = [context, sha(recipient.encode()), sha(text), enc(e), enc(w), enc(mul(k, G)), enc(mul(k, h))]
    c = wide(sha384(b"collective/v1/sender-proof", *parts))
    return stanza(["collective-proof", b64(enc(w))], scalar(c) + scalar(k + c * r))


def check_contribution(vector, ml_kem_secret=None):
    coins = Coins(vector["coins"])
    file_key = coins.take(16)
    recipient = bech32(vector["recipient"])
    ml_kem = None
    if len(recipient) > 33:
        coins.take(32)
        argument = vector["header"].split("\n")[1].split(" ")[3]
        ml_kem = unb64(argument)[:1088], ml_kem_secret
    r, k = wide(coins.take(48)), wide(coins.take(48))
    text, e = tagged(recipient, file_key, r, ml_kem)
    context = context_bytes(vector["context"])
    stanzas = [text, proof(text, e, r, k, context, vector["recipient"])]
    head, body = finish(stanzas, file_key, coins.take(16), bytes.fromhex(vector["plaintext"]))
    assert not coins.left
    assert context.hex() == vector["context_bytes"]
    assert head.decode() == vector["header"]
    assert (head + body).hex() == vector["file"]
    assert sha(head).hex() == vector["header_sha256"]
    assert enc(e).hex() == vector["point"]
    assert sha(b"collective/v1/point", e[0].to_bytes(32, "big")).hex() == vector["point_id"]
    return e


def check_committee(v, e):
    dealing = Coins(v["dealing_coins"])
    secret = int.from_bytes(bech32(v["identity"])[:32], "big")
    slope = wide(dealing.take(48))
    assert not dealing.left
    shares = {i: (secret + slope * i) % N for i in (1, 2, 3)}
    assert [enc(mul(x, G)).hex() for x in shares.values()] == v["public_shares"]
    text = v["recipient"].encode()
    parts = [b"\1", len(text).to_bytes(2, "big"), text, v["epoch"].to_bytes(8, "big"), b"\0\2\0\3"]
    certificate = b"".join(parts + [compressed(mul(x, G)) for x in shares.values()])
    assert certificate.hex() == v["certificate"]
    assert sha(certificate).hex() == v["certificate_sha256"]
    d = b"collective/v1/partial-proof"
    bound = {name: bytes.fromhex(value) for name, value in v["proof_context"].items()}
    for q in v["quorums"]:
        for p in q["partials"]:
            i = p["member"]
            (j,) = [m for m in q["quorum"] if m != i]
            factor = j * pow(j - i, -1, N) * shares[i] % N
            partial = mul(factor, e)
            assert enc(partial).hex() == p["partial"]
            seed = [d, b"/statement", bound["collective"], v["epoch"].to_bytes(8, "big")]
            seed += [enc(mul(secret, G)), bound["grant"], bound["grantee"], b"\0\2"]
            seed += [m.to_bytes(2, "big") for m in q["quorum"]]
            seed = sha(*seed, enc(mul(factor, G)))
            batch = sha(d, b"/batch", seed, enc(e), enc(partial))
            weight = int.from_bytes(sha(d, b"/coefficient", batch, bytes(4))[:16], "big")
            m, z = mul(weight, e), mul(weight, partial)
            k = wide(Coins(p["proof_coins"]).take(48))
            c = wide(sha384(d, b"/challenge", seed, enc(m), enc(z), enc(mul(k, G)), enc(mul(k, m))))
            assert (scalar(c) + scalar(k - c * factor)).hex() == p["proof"]


def main():
    contributions = json.loads((HERE / "contributions.json").read_text())
    committee = json.loads((HERE / "committee.json").read_text())
    check_contribution(contributions[0])
    # The committee's file is the hybrid contribution, so its ML-KEM secret is known.
    assert committee["file"] == contributions[1]["file"]
    ml_kem_secret = bytes.fromhex(committee["quorums"][0]["ml_kem_secret"])
    e = check_contribution(contributions[1], ml_kem_secret)
    check_committee(committee, e)
    for vector in json.loads((HERE / "files.json").read_text()):
        if vector["stanza"] == "p256tag":
            coins = Coins(vector["coins"])
            file_key, r = coins.take(16), wide(coins.take(48))
            text, _ = tagged(bech32(vector["recipient"]), file_key, r)
            plain = bytes.fromhex(vector["plaintext"])
            assert b"".join(finish([text], file_key, coins.take(16), plain)).hex() == vector["file"]
    print("contributions, committee and files follow from SPEC.md")


if __name__ == "__main__":
    main()
