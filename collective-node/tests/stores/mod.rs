//! Buckets for tests, over a line that breaks, hangs and lies.
#![allow(dead_code)] // each test binary uses its part

use std::net::SocketAddr;

use collective::id::BlobId;
use collective_node::blobs::Service;
use collective_node::blobs::s3::{AccessKey, At, service};
use object_store::path::Path as Key;
use rand::RngExt;

use line::Mode;

pub mod line;

/// A file that goes there in several parts.
pub const PARTS: u64 = 20 << 20;

pub const HTML: &str =
    "HTTP/1.1 200 OK\r\nContent-Length: 14\r\nContent-Type: text/html\r\n\r\n<html>A</html>";
pub const FAILED: &str = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
pub const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater";
pub const DENIED: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n";
pub const ELSEWHERE: &str =
    "HTTP/1.1 301 Moved Permanently\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
pub const NO_PAGE: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 14\r\n\r\n<html>A</html>";
pub const NO_KEY: &str = "HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: 45\r\n\r\n<Error><Code>NoSuchKey</Code></Error>        ";

/// All that is no answer of a bucket's.
pub const LIES: [Mode; 9] = [
    Mode::Broken,
    Mode::Cut(10),
    Mode::Says(FAILED),
    Mode::Says(BUSY),
    Mode::Says(DENIED),
    Mode::Says(ELSEWHERE),
    Mode::Says(NO_PAGE),
    Mode::Says(NO_KEY),
    Mode::Says(HTML),
];

pub fn server() -> SocketAddr {
    let told = std::env::var("COLLECTIVE_S3").expect("COLLECTIVE_S3: `just stores` sets it");
    told.parse().expect("an address and a port")
}

/// What nobody else uses in the bucket.
pub fn at(service: SocketAddr, prefix: &str) -> At {
    At {
        endpoint: format!("http://{service}").parse().expect("a URL"),
        bucket: "collective".into(),
        region: "us-east-1".into(),
        prefix: prefix.into(),
        allow_http: true,
    }
}

pub fn opened(at: &At) -> Service {
    let told = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("no {name}"));
    let key = AccessKey {
        id: told("AWS_ACCESS_KEY_ID"),
        secret: told("AWS_SECRET_ACCESS_KEY").into(),
    };
    service(at, &key).expect("a place")
}

pub fn fresh() -> String {
    format!("test-{:016x}", rand::rng().random::<u64>())
}

pub fn object(prefix: &str, id: BlobId) -> Key {
    let name = id.to_string();
    Key::from(format!("{prefix}/{}/{}", &name[2..4], &name[4..]))
}
