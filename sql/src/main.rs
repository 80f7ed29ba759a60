//! The binary `collective-sql`: runs one approved query over contributed records, in the sandbox of `collective`.
//!
//! It is a child and nothing else: it shuts itself in before it reads a byte that anybody else wrote, and talks to the process
//! that started it over two pipes. DataFusion costs more to build than all the rest of the project together, so it is here
//! alone.

mod check;
mod engine;
mod exact;
mod members;
mod output;
mod ranges;
mod table;

fn main() {
    collective_node::sandbox::query_main::<engine::DataFusion>(std::env::args().skip(1))
}
