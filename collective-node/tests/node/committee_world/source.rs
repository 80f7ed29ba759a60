//! What a compute node serves to key holders, as a test gives it out: any bytes under any name, or none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use collective::id::{BlobId, Leaf};
use collective_node::client::Client;
use futures_util::stream;
use tokio::net::TcpListener;

#[derive(Clone)]
enum Given {
    Bytes(Bytes),
    /// Zeros that never end.
    Endless,
}

type Pages = Arc<Mutex<HashMap<String, Given>>>;

pub struct Source {
    url: String,
    pages: Pages,
}

impl Source {
    pub async fn serve() -> Self {
        let pages = Pages::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(give).with_state(pages.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, pages }
    }

    pub fn client(&self) -> Client {
        Client::new(self.url.parse().expect("a URL")).expect("a client")
    }

    pub fn put_blob(&self, bytes: &[u8]) {
        self.put(
            blob(BlobId::of(bytes)),
            Given::Bytes(Bytes::copy_from_slice(bytes)),
        );
    }

    pub fn put_header(&self, leaf: Leaf, header: &[u8]) {
        self.put(
            header_of(leaf),
            Given::Bytes(Bytes::copy_from_slice(header)),
        );
    }

    /// Never comes to an end with this header.
    pub fn put_endless_header(&self, leaf: Leaf) {
        self.put(header_of(leaf), Given::Endless);
    }

    /// Never comes to an end with this blob.
    pub fn put_endless_blob(&self, id: BlobId) {
        self.put(blob(id), Given::Endless);
    }

    fn put(&self, page: String, given: Given) {
        self.pages.lock().expect("one test").insert(page, given);
    }
}

fn blob(id: BlobId) -> String {
    format!("/blobs/{id}")
}

fn header_of(leaf: Leaf) -> String {
    format!("/contributions/{leaf}/header")
}

async fn give(State(pages): State<Pages>, uri: Uri) -> Response {
    let given = pages.lock().expect("one test").get(uri.path()).cloned();
    match given {
        Some(Given::Bytes(bytes)) => bytes.into_response(),
        Some(Given::Endless) => {
            let zeros = stream::repeat_with(|| {
                Ok::<_, std::convert::Infallible>(Bytes::from_static(&[0; 64 * 1024]))
            });
            Body::from_stream(zeros).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
