//! Every limit of the library, with its reason (invariant 7: every loop, queue, body, count and duration has one).
//!
//! A limit says how much a stranger may ask for; what an approval allows is said by the approval itself.

/// Longest age header, in bytes. A hybrid stanza takes 1.7 KB and a sender proof 0.2 KB, so this leaves room for
/// several recipients and for the random stanzas that some clients add, and it bounds what an upload can make us parse.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Most stanzas in one header. Each may cost a scalar multiplication when a file is opened.
pub const MAX_STANZAS: usize = 32;

/// Highest scrypt work factor (log₂ N) that is accepted. 2²⁰ with r = 8 takes 1 GiB and some seconds: an operator can
/// wait that long for the own key file, and a stranger's file cannot ask for more.
pub const MAX_SCRYPT_LOG_N: u8 = 20;

/// scrypt work factor (log₂ N) for new key files: 256 MiB and about a second.
pub const DEFAULT_SCRYPT_LOG_N: u8 = 18;

/// Most members of a committee. Certificates are checked by every reader with t multiplications per member, and a
/// quorum is written out by its numbers.
pub const MAX_MEMBERS: u16 = 64;

/// Most files that one batched proof of partial decryption covers: about half a second of work for the prover.
pub const MAX_PROOF_BATCH: usize = 4096;

/// Payloads below this many bytes are sealed and opened on the calling thread: starting a thread costs what 100 KiB of
/// ChaCha20-Poly1305 costs, so a smaller piece gains nothing.
pub const MIN_PARALLEL_BYTES: usize = 1024 * 1024;

/// Contributions in one batch: a key holder checks one manifest in memory (about 1 KiB each) and in about a second of
/// signature checks.
pub const MAX_BATCH: usize = 10_000;

/// Bytes of one record: a survey answer or a health row, not a file; the sandbox moves records in chunks of 1 MiB and
/// must fit one.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Bytes of one document, line feed included: a long conversation has some hundred KiB. Putting it into canonical form takes
/// up to sixteen times that of memory, where it has many short members.
pub const MAX_DOCUMENT_BYTES: usize = 4 << 20;

/// Values within values in a document: exports of chats have eight. A reader in recursion bears several hundred.
pub const MAX_DOCUMENT_DEPTH: usize = 64;

/// Documents of one contribution: what tells equal contents takes 32 bytes for each, and nobody weighs as much as so many others.
/// Exports of chats have some thousands.
pub const MAX_DOCUMENTS: usize = 1 << 16;

/// Bytes of all documents of one contribution: it is sealed and opened whole, in memory.
pub const MAX_DOCUMENTS_BYTES: usize = 64 << 20;

/// Columns of a source: what a member can still read before voting.
pub const MAX_COLUMNS: usize = 256;

/// Bytes of the name of a source or a column: it stands in tables and URLs.
pub const MAX_NAME_BYTES: usize = 64;

/// Bytes of an approval manifest: it is read by people and fetched by every key holder.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;

/// Bytes of an output's schema: what a member can still read. Checking takes time with its length times the output's.
pub const MAX_SCHEMA_BYTES: usize = 16 * 1024;

/// KiB of an output's schema times KiB of the longest output: checking takes some 1.3 ms for each at worst, ten minutes' wait are allowed
/// for it, and a run that is made twice has to fit into a day.
pub const MAX_SCHEMA_WORK: u64 = 64 * 1024;

/// Schemas within schemas: those of answers that people read are five deep.
pub const MAX_SCHEMA_DEPTH: usize = 16;

/// Bytes that one job may send out: a model of moderate size; larger outputs are a hand-off.
pub const MAX_OUTPUT_BYTES: u64 = 64 * 1024 * 1024;

/// Seconds by which `denyBlock` may lie behind the newest block a holder knows. It is older than the lease, and the
/// lease has to become final first, which takes Ethereum 13 to 20 minutes; what was taken back since then is seen in the
/// newest block. Below the lease's own hour.
pub const MAX_DENY_AGE: u64 = 45 * 60;

/// Seconds by which `allowBlock` may lie behind the newest finalized block: an approval that was since replaced must
/// not be used for long, and a lease must survive one missed epoch.
pub const MAX_ALLOW_AGE: u64 = 60 * 60;

/// Seconds by which the finalized block, and with it every permit and the index, may lie behind the newest block: three
/// times what Ethereum takes in good health. Beyond it the chain, or the endpoint, does not finalize.
pub const MAX_FINALITY_LAG: u64 = 60 * 60;

/// Seconds without a new finalized block after which nothing is released: a stalled or censoring endpoint would
/// otherwise freeze revocations. Four epochs of Ethereum.
pub const MAX_CHAIN_SILENCE: u64 = 30 * 60;

/// Seconds that one run may take: of the day that JobEscrow grants between release and receipt, so much that a run which had
/// to be made twice, each time to the end of its last bucket, can still be receipted, and four hours for finality and sealing.
pub const MAX_RUN_SECONDS: u32 = 10 * 60 * 60;

/// Bytes of memory that one run may have: WebAssembly with 32-bit addresses reaches no more.
pub const MAX_RUN_MEMORY: u64 = 4 << 30;

/// Seconds from release to receipt that a hand-off may give (CodeRegistry's `MAX_RETURN_SECONDS`): training takes days, and the price and
/// the bond stand still meanwhile.
pub const MAX_RETURN_SECONDS: u32 = 30 * 24 * 60 * 60;

/// Bytes of memory that a run on a heavy node may have: more than any machine has today, and a number that JSON can write.
pub const MAX_HEAVY_MEMORY: u64 = 4 << 40;

/// Bytes of what a trainer is told: what people read before they vote.
pub const MAX_TRAINING_BYTES: usize = 64 * 1024;

/// Files in one message of partials: as many as one proof covers, about 0.6 s of a member's work and 400 KB.
pub const MAX_PAGE_FILES: usize = MAX_PROOF_BATCH;

/// Longest message of partials in bytes: a full page of hybrid files (97 each), its header and what is signed around it.
pub const MAX_ANSWER_BYTES: usize = MAX_PAGE_FILES * 97 + 2 * MAX_HEADER_BYTES;

/// Bytes of one line of a holder's log: a release with a quorum of [`MAX_MEMBERS`] takes below 1 KiB.
pub const MAX_LOG_LINE_BYTES: usize = 4 * 1024;

/// Bytes of the record of how a release was assembled: a million files are 245 pages, and a quorum of 64 signs about 30 KB
/// for each.
pub const MAX_QUORUM_RECORD_BYTES: usize = 8 * 1024 * 1024;

/// Files of a source bundle: more than that nobody reads before voting.
pub const MAX_BUNDLE_FILES: usize = 256;

/// Bytes of a source bundle: some 25,000 lines, many times what a member can read, and it crosses into the sandbox as one
/// string.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;

/// Bytes of a path in a source bundle: what file systems allow in one name.
pub const MAX_PATH_BYTES: usize = 255;

/// Bytes of an SQL program: more than a member reads before voting.
pub const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Bytes of the name of an engine that runs queries: a word and a version.
pub const MAX_ENGINE_BYTES: usize = 64;
