;; A program that means to tell one bit of the first record by every way but its output. The first letter of its arguments
;; says which way; the bit is the lowest one of the record's first character.
(import "collective:program/dataset@0.1.0" "next-chunk" (func $next_chunk (param i32 i32)))
(import "collective:program/output@0.1.0" "write" (func $write (param i32 i32)))
(import "collective:program/log@0.1.0" "line" (func $line (param i32 i32)))
(memory (export "memory") 1)
(data (i32.const 256) "first second")
(data (i32.const 272) "second first")
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))

;; As many turns as it is told to.
(func $spin (param $turns i32)
  (loop $again
    (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
    (br_if $again (i32.gt_s (local.get $turns) (i32.const 0)))))

;; As many writes of one byte as it is told to.
(func $drip (param $writes i32)
  (loop $again
    (call $write (i32.const 512) (i32.const 1))
    (local.set $writes (i32.sub (local.get $writes) (i32.const 1)))
    (br_if $again (i32.gt_s (local.get $writes) (i32.const 0)))))

;; The answer that is an error of twelve bytes at this address.
(func $error (param $at i32) (result i32)
  (i32.store (i32.const 128) (i32.const 1))
  (i32.store (i32.const 132) (local.get $at))
  (i32.store (i32.const 136) (i32.const 12))
  (i32.const 128))

(func (export "run") (param $arguments i32) (param $length i32) (result i32)
  (local $way i32) (local $bit i32)
  (local.set $way (i32.load8_u (local.get $arguments)))
  ;; One record: it takes the arguments' place.
  (call $next_chunk (i32.const 1) (i32.const 16))
  (local.set $bit (i32.and (i32.load8_u (i32.load (i32.const 20))) (i32.const 1)))

  ;; r: how many records it reads; below the minimum group, or all and a trap.
  (if (i32.eq (local.get $way) (i32.const 0x72)) (then
    (if (local.get $bit) (then (return (i32.const 64))))
    (call $next_chunk (i32.const 65536) (i32.const 16))
    unreachable))
  (call $next_chunk (i32.const 65536) (i32.const 16))

  ;; k: how it stops.
  (if (i32.eq (local.get $way) (i32.const 0x6b)) (then
    (if (local.get $bit) (then unreachable))
    (return (i32.div_s (i32.const 1) (i32.const 0)))))
  ;; b: which limit it breaks.
  (if (i32.eq (local.get $way) (i32.const 0x62)) (then
    (if (local.get $bit) (then (call $write (i32.const 0) (i32.const 65536))))
    (drop (memory.grow (i32.const 65000)))))
  ;; e: the text of its error.
  (if (i32.eq (local.get $way) (i32.const 0x65)) (then
    (return (call $error (select (i32.const 256) (i32.const 272) (local.get $bit))))))
  ;; o: whether there is an output, which is granted.
  (if (i32.eq (local.get $way) (i32.const 0x6f)) (then
    (if (local.get $bit) (then (return (call $error (i32.const 256)))))))
  ;; c: what the output says, which is granted.
  (if (i32.eq (local.get $way) (i32.const 0x63)) (then
    (i32.store8 (i32.const 512) (local.get $bit))))

  ;; l: length of the output. a: this and all that follows at once.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x6c)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (call $write (i32.const 512) (i32.const 700))))
  ;; t: time.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x74)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (call $spin (i32.const 30000000))))
  ;; n: lines of the log.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x6e)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (call $line (i32.const 256) (i32.const 12)) (call $line (i32.const 256) (i32.const 12))))
  ;; m: memory.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x6d)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (drop (memory.grow (i32.const 300)))))
  ;; f: fuel.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x66)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (call $spin (i32.const 1000))))
  ;; w: in how many writes the same bytes are written.
  (if (i32.and (local.get $bit)
      (i32.or (i32.eq (local.get $way) (i32.const 0x77)) (i32.eq (local.get $way) (i32.const 0x61))))
    (then (call $drip (i32.const 100)))
    (else (call $write (i32.const 512) (i32.const 100))))
  (i32.const 64))
