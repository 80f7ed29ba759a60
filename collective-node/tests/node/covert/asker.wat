;; A runtime that means to tell one bit of the first record by what it asks for and is denied.
(import "collective:program/dataset@0.1.0" (instance $dataset
  (export "next-chunk" (func (param "max-bytes" u32) (result (option (list u8)))))))
(import "wasi:cli/exit@0.2.0" (instance $exit (export "exit" (func))))
(import "wasi:io/poll@0.2.0" (instance $poll (export "poll" (func))))
(core module $libc
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096)))
(core instance $libc (instantiate $libc))
(core func $next_chunk (canon lower (func $dataset "next-chunk")
  (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
(core func $exit (canon lower (func $exit "exit")))
(core func $poll (canon lower (func $poll "poll")))
(core module $asker
  (import "libc" "memory" (memory 1))
  (import "host" "next-chunk" (func $next_chunk (param i32 i32)))
  (import "host" "exit" (func $exit))
  (import "host" "poll" (func $poll))
  (func (export "run") (param i32 i32) (result i32)
    (call $next_chunk (i32.const 65536) (i32.const 16))
    (if (i32.and (i32.load8_u (i32.load (i32.const 20))) (i32.const 1))
      (then (call $exit))
      (else (call $poll)))
    (i32.const 64)))
(core instance $asker (instantiate $asker
  (with "libc" (instance $libc))
  (with "host" (instance
    (export "next-chunk" (func $next_chunk)) (export "exit" (func $exit)) (export "poll" (func $poll))))))
(func (export "run") (param "arguments" string) (result (result (error string)))
  (canon lift (core func $asker "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
