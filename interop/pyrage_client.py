"""The age client for Python, as a command: seals or opens standard input to standard output.

    python pyrage_client.py seal RECIPIENT | open IDENTITY
"""

import sys

import pyrage
import pyrage.plugin

# The longest prefix first: each kind of recipient has a class of its own.
RECIPIENTS = (
    ("age1tagpq1", pyrage.tagpq.Recipient),
    ("age1tag1", pyrage.tag.Recipient),
    ("age1", pyrage.x25519.Recipient),
)


def recipient(text):
    """The recipient that a string names."""
    if text.startswith("age1collective1"):
        named = pyrage.plugin.Recipient.from_str(text)
        # The plugin asks the person nothing, so there is nothing to call back.
        return pyrage.plugin.RecipientPluginV1(named.plugin(), [named], [], None)
    for prefix, kind in RECIPIENTS:
        if text.startswith(prefix):
            return kind.from_str(text)
    raise SystemExit("no age recipient")


def main():
    verb, key = sys.argv[1:]
    data = sys.stdin.buffer.read()
    if verb == "seal":
        result = pyrage.encrypt(data, [recipient(key)])
    elif verb == "open":
        result = pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(key)])
    else:
        raise SystemExit(f"no verb {verb}")
    sys.stdout.buffer.write(result)


if __name__ == "__main__":
    main()
