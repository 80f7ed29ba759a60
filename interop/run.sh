#!/usr/bin/env bash
# Other age clients against this project's sealing, both ways. Prints one line per client, recipient and direction;
# exits 1 if a file does not come back, or if an altered file or a foreign key is let through.
#
#   interop/run.sh            the table
#   interop/run.sh vectors    writes vectors/clients anew: a file per client and recipient, and a contribution per client and
#                             recipient of the collective, for the tests of the library
set -euo pipefail
cd "$(dirname "$0")/.."
. .ci/tools.sh

RAGE=0.12.1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# --- the clients: each is `CLIENT seal RECIPIENT` and `CLIENT open IDENTITY`, standard input to standard output

ours() {
    "$CARGO_TARGET_DIR/release/examples/age" "$@"
}

typage() {
    node "$node/typage.mjs" "$@"
}

pyrage() {
    "$python" interop/pyrage_client.py "$@"
}

rage() {
    case $1 in
        seal) "$rage/rage" --encrypt --recipient "$2" ;;
        open) "$rage/rage" --decrypt --identity <(echo "$2") ;;
    esac
}

install_clients() {
    cargo build --quiet --release --locked --example age --bin age-plugin-collective
    mkdir "$work/plugins"
    ln -s "$(realpath "$CARGO_TARGET_DIR")/release/age-plugin-collective" "$work/plugins"
    PATH=$work/plugins:$PATH
    rage=$(cargo_tool rage "$RAGE")
    python=$(python_with interop/requirements.txt)
    node=$COLLECTIVE_CACHE/node-$(sha256sum interop/package-lock.json | cut -c1-16)
    mkdir -p "$node"
    cp interop/package.json interop/package-lock.json interop/*.mjs "$node"
    [ -e "$node/node_modules/.package-lock.json" ] || npm ci --silent --ignore-scripts --prefix "$node"
}

# --- one line of the table

# Nothing, one byte, and both sides of the boundaries of the 64 KiB chunks.
SIZES=(0 1 65535 65536 65537 131072 300000)

# round MAKER OPENER RECIPIENT IDENTITY STRANGER: every size comes back; altered files and a stranger's key do not.
round() {
    local maker=$1 opener=$2 recipient=$3 identity=$4 stranger=$5 size plain
    for size in "${SIZES[@]}"; do
        plain=$work/plain-$size
        "$maker" seal "$recipient" <"$plain" >"$work/file" 2>"$work/said" || { reason="$size bytes: not sealed"; return 1; }
        "$opener" open "$identity" <"$work/file" >"$work/back" 2>"$work/said" || { reason="$size bytes: not opened"; return 1; }
        cmp -s "$plain" "$work/back" || { reason="$size bytes: other bytes came back"; return 1; }
    done
    # The last file: its last byte away, then its last byte another, then another's key.
    : >"$work/said"
    head -c -1 "$work/file" >"$work/altered"
    ! "$opener" open "$identity" <"$work/altered" >/dev/null 2>&1 || { reason="a file cut short was opened"; return 1; }
    tail -c 1 "$work/file" | tr '\000-\377' '\001-\377\000' >>"$work/altered"
    ! "$opener" open "$identity" <"$work/altered" >/dev/null 2>&1 || { reason="an altered file was opened"; return 1; }
    ! "$opener" open "$stranger" <"$work/file" >/dev/null 2>&1 || { reason="a stranger opened the file"; return 1; }
}

# contribution MAKER RECIPIENT IDENTITY: the maker's contribution holds for its context only, and opens: with the key, and
# with each two of three shares of it. A file without proof does not hold, and no holder of a share gives anything for it. typage has code of its own for the proof; other clients have the plugin make it.
contribution() {
    local maker=$1 recipient=$2 identity=$3 plain=$work/plain-65537 context other
    context=$(head -c 112 /dev/urandom | od -An -tx1 -v | tr -d ' \n')
    other=$(head -c 112 /dev/urandom | od -An -tx1 -v | tr -d ' \n')
    contribute "$maker" "$recipient" "$context" <"$plain" >"$work/file" 2>"$work/said" || { reason="not made"; return 1; }
    ours check "$recipient" "$context" <"$work/file" >"$work/back" 2>"$work/said" || { reason="the proof does not hold"; return 1; }
    ours open "$identity" <"$work/file" >"$work/back" 2>"$work/said" || { reason="not opened"; return 1; }
    cmp -s "$plain" "$work/back" || { reason="other bytes came back"; return 1; }
    ours quorum "$identity" "$context" <"$work/file" >"$work/back" 2>"$work/said" || { reason="two of three do not open it"; return 1; }
    cmp -s "$plain" "$work/back" || { reason="two of three open it to other bytes"; return 1; }
    : >"$work/said"
    ! ours check "$recipient" "$other" <"$work/file" >/dev/null 2>&1 || { reason="the proof holds for another sender"; return 1; }
    "$maker" seal "$recipient" <"$plain" >"$work/file" 2>"$work/said" || { reason="not sealed"; return 1; }
    ! ours check "$recipient" "$context" <"$work/file" >/dev/null 2>&1 || { reason="no proof was asked for"; return 1; }
    ! ours quorum "$identity" "$context" <"$work/file" >/dev/null 2>"$work/said" || { reason="holders open it without proof"; return 1; }
    grep -q ProofMissing "$work/said" || { reason="holders refuse it for another reason"; return 1; }
}

# contribute MAKER RECIPIENT CONTEXT: standard input, sealed with a sender proof.
contribute() {
    case $1 in
        typage) typage contribute "$2" "$3" ;;
        *) "$1" seal "$(ours recipient "$2" "$3")" ;;
    esac
}

# counted CLIENT…: each client's file, without proof, is taken by a collective that asks for none, and its job counts it.
counted() {
    local client clients=
    for client in "$@"; do
        # The test calls a program; the functions above are this script's.
        { echo '#!/usr/bin/env bash'; declare -p node python rage; declare -f "$client"; echo "cd '$PWD'; $client seal \"\$1\""; } \
            >"$work/client-$client"
        chmod +x "$work/client-$client"
        clients=$clients:$work/client-$client
    done
    AGE_CLIENTS=$clients cargo test --quiet --release --locked -p collective-node --test node -- unproven:: >"$work/said" 2>&1 && return
    reason="a file was not counted"
    return 1
}

# read_vectors: the vectors of sealing as JavaScript reads them.
read_vectors() {
    VECTORS=$PWD/vectors node --test "$node/vectors.test.mjs" >"$work/said" 2>&1 && return
    reason="a vector is read otherwise"
    grep -E '^ *not ok|message:|error:' "$work/said" >"$work/failures" || true
    mv "$work/failures" "$work/said"
    return 1
}

failed=0
passed=0
# line MAKER OPENER KIND CHECK…: runs the check and prints its line.
line() {
    local maker=$1 opener=$2 kind=$3
    shift 3
    printf '%-8s -> %-8s %-22s ' "$maker" "$opener" "$kind"
    if "$@"; then
        passed=$((passed + 1))
        echo ok
    else
        failed=$((failed + 1))
        echo "FAIL: $reason"
        sed 's/^/    /' "$work/said" | head -n 5
    fi
}

# --- all lines

# A native X25519 key by the outside tool: "secret public".
native_key() {
    "$rage/rage-keygen" 2>/dev/null | awk '/public key/ { public = $NF } /^AGE-SECRET-KEY/ { print $1, public }'
}

table() {
    local size client secret tag tagpq other native native_public native_other
    for size in "${SIZES[@]}"; do
        head -c "$size" /dev/urandom >"$work/plain-$size"
    done
    { read -r secret; read -r tag; read -r tagpq; } < <(ours key)
    read -r other < <(ours key)
    read -r native native_public < <(native_key)
    read -r native_other _ < <(native_key)

    printf 'typage %s, pyrage %s, %s; files of %s bytes\n\n' \
        "$(node -p 'require(process.argv[1]).version' "$node/node_modules/age-encryption/package.json")" \
        "$("$python" -c 'from importlib.metadata import version; print(version("pyrage"))')" \
        "$("$rage/rage" --version)" "${SIZES[*]}"
    printf 'made by     opened by recipient\n'
    for client in typage pyrage rage; do
        line "$client" ours age1tag round "$client" ours "$tag" "$secret" "$other"
        line "$client" ours age1tagpq round "$client" ours "$tagpq" "$secret" "$other"
        line "$client" ours age1 round "$client" ours "$native_public" "$native" "$native_other"
        line ours "$client" age1 round ours "$client" "$native_public" "$native" "$native_other"
    done
    for client in typage pyrage rage; do
        line "$client" ours 'age1tag + proof' contribution "$client" "$tag" "$secret"
        line "$client" ours 'age1tagpq + proof' contribution "$client" "$tagpq" "$secret"
    done
    line clients ours 'without proof, a job' counted typage pyrage rage
    line typage ours 'vectors/seal' read_vectors
    printf '\n%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
}

# --- files to keep

vectors() {
    local folder=vectors/clients client secret tag tagpq native native_public context
    mkdir -p "$folder"
    { read -r secret; read -r tag; read -r tagpq; } < <(ours key)
    read -r native native_public < <(native_key)
    # The keys are published here: they protect nothing.
    printf '%s\n' "$secret" "$native" >"$folder/identities.txt"
    printf 'A record that another client sealed.\n' >"$folder/plaintext.txt"
    context=$(head -c 112 /dev/urandom | od -An -tx1 -v | tr -d ' \n')
    echo "$context" >"$folder/context.txt"
    for client in typage pyrage rage; do
        "$client" seal "$tag" <"$folder/plaintext.txt" >"$folder/$client-tag.age"
        "$client" seal "$tagpq" <"$folder/plaintext.txt" >"$folder/$client-tagpq.age"
        "$client" seal "$native_public" <"$folder/plaintext.txt" >"$folder/$client-x25519.age"
        contribute "$client" "$tag" "$context" <"$folder/plaintext.txt" >"$folder/$client-tag-contribution.age"
        contribute "$client" "$tagpq" "$context" <"$folder/plaintext.txt" >"$folder/$client-tagpq-contribution.age"
    done
    "$rage/rage" --encrypt --armor --recipient "$tag" <"$folder/plaintext.txt" >"$folder/rage-tag-armored.age"
    ls "$folder"
}

install_clients
case ${1:-table} in
    table) table ;;
    vectors) vectors ;;
    *)
        echo "no verb $1; there are: table vectors" >&2
        exit 2
        ;;
esac
