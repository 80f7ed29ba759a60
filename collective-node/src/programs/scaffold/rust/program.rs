//! The world of a program (wit/program.wit) as Rust sees it: no file, no clock, no WASI.

use std::alloc::{Layout, alloc};
use std::cell::RefCell;

/// Bytes of records that are asked for at once.
const CHUNK: u32 = 1 << 20;

#[repr(C)]
struct Chunk {
    some: bool,
    bytes: *mut u8,
    length: usize,
}

/// What the host is told in the end.
#[repr(C)]
pub struct Outcome {
    failed: bool,
    text: *const u8,
    length: usize,
}

#[link(wasm_import_module = "collective:program/dataset@0.1.0")]
unsafe extern "C" {
    #[link_name = "next-chunk"]
    fn next_chunk(max_bytes: u32, into: *mut Chunk);
}

#[link(wasm_import_module = "collective:program/output@0.1.0")]
unsafe extern "C" {
    #[link_name = "write"]
    fn write_bytes(bytes: *const u8, length: usize);
}

/// Where the host puts arguments and chunks: memory that whoever takes it frees.
#[unsafe(no_mangle)]
extern "C" fn cabi_realloc(old: *mut u8, _: usize, align: usize, size: usize) -> *mut u8 {
    assert!(old.is_null(), "the host asks for fresh memory only");
    if size == 0 {
        return align as *mut u8;
    }
    // SAFETY: the size is not zero, and the host's alignments are powers of two.
    unsafe { alloc(Layout::from_size_align(size, align).expect("an alignment")) }
}

/// What the host has put into our memory.
///
/// # Safety
/// `bytes` and `length` are what the host gave, and taken once.
unsafe fn take(bytes: *mut u8, length: usize) -> String {
    if length == 0 {
        return String::new();
    }
    // SAFETY: `cabi_realloc` made it with this length.
    let bytes = unsafe { Vec::from_raw_parts(bytes, length, length) };
    String::from_utf8(bytes).expect("the host gives UTF-8")
}

thread_local! {
    static RECORDS: RefCell<(String, usize)> = RefCell::default();
}

/// The next record without its line feed; `None` after the last one.
pub fn next_record() -> Option<String> {
    RECORDS.with_borrow_mut(|(chunk, at)| {
        if *at == chunk.len() {
            let mut next = Chunk { some: false, bytes: std::ptr::null_mut(), length: 0 };
            // SAFETY: the host fills in what it was given, and each chunk is taken once.
            *chunk = unsafe {
                next_chunk(CHUNK, &mut next);
                if !next.some {
                    return None;
                }
                take(next.bytes, next.length)
            };
            *at = 0;
        }
        let (record, _) = chunk[*at..].split_once('\n')?;
        *at += record.len() + 1;
        Some(record.to_owned())
    })
}

/// Adds to the output.
pub fn write(text: &str) {
    // SAFETY: the host reads these bytes and keeps none.
    unsafe { write_bytes(text.as_ptr(), text.len()) }
}

#[unsafe(export_name = "run")]
extern "C" fn start(arguments: *mut u8, length: usize) -> *const Outcome {
    // SAFETY: the host hands the arguments over.
    let arguments = unsafe { take(arguments, length) };
    let text = crate::run(&arguments).err();
    let failed = text.is_some();
    let text: &'static str = text.unwrap_or_default().leak();
    Box::leak(Box::new(Outcome { failed, text: text.as_ptr(), length: text.len() }))
}
