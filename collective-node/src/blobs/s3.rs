//! A bucket of an S3-compatible service, asked with the node's own HTTP client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Limited};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, Error, RetryConfig};
use reqwest::Method;
use reqwest::redirect::Policy;
use url::Url;
use zeroize::Zeroizing;

use super::store::MAX_WHOLE_BYTES;
use super::{BlobError, Service};

/// For a connection: a service in another continent takes half a second.
const CONNECT: Duration = Duration::from_secs(10);

/// Between two pieces of an answer, and from the beginning of a request to its answer: two parts of 8 MiB, which is the most that
/// is sent at a time, go up in it at 280 kB/s.
const READ: Duration = Duration::from_secs(60);

/// For one request in all: 256 MiB come down in it at 450 kB/s.
const REQUEST: Duration = Duration::from_secs(600);

/// A request is made so often after the first time. Whoever waits for it waits for the node, and whoever asks the node tries again.
const RETRIES: usize = 3;

/// Pauses before them double from the first to the second of these.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// No request is made again once it has taken this long.
const RETRY_UNTIL: Duration = Duration::from_secs(90);

/// How long a signed address holds: a try, redirects and clocks that differ included.
const SIGNED_FOR: Duration = Duration::from_secs(600);

/// Where a bucket is.
#[derive(Clone, Debug)]
pub struct At {
    /// The service, `https://HOST`.
    pub endpoint: Url,
    /// The bucket's name.
    pub bucket: String,
    /// The service's region.
    pub region: String,
    /// The path in the bucket under which all is kept; it may be empty.
    pub prefix: String,
    /// Whether to speak to it without TLS, which shows everybody on the way what is kept, and lets them alter it.
    pub allow_http: bool,
}

/// A key of the service; nothing shows it.
pub struct AccessKey {
    /// Its name.
    pub id: String,
    /// What requests are signed with.
    pub secret: Zeroizing<String>,
}

/// The objects of a bucket. Nothing is asked yet.
///
/// # Errors
/// [`BlobError::Bucket`] where the place makes no sense, or there are no TLS roots.
pub fn service(at: &At, key: &AccessKey) -> Result<Service, BlobError> {
    let client = reqwest::Client::builder()
        .https_only(!at.allow_http)
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .read_timeout(READ)
        .timeout(REQUEST)
        .build()
        .map_err(|error| BlobError::Bucket(error.to_string()))?;
    let bucket = bucket(at, key, client).map_err(|error| BlobError::Bucket(cause(&error)))?;
    Ok(Service::new(Arc::new(bucket), &at.prefix))
}

/// Where everybody may read an object for [`SIGNED_FOR`]. Nothing is asked.
///
/// # Errors
/// Where the place makes no sense.
pub async fn signed(
    at: &At,
    key: &AccessKey,
    client: reqwest::Client,
    path: &str,
) -> object_store::Result<Url> {
    let path = Path::parse(path)?;
    let bucket = bucket(at, key, client)?;
    bucket.signed_url(Method::GET, &path, SIGNED_FOR).await
}

fn bucket(at: &At, key: &AccessKey, client: reqwest::Client) -> object_store::Result<AmazonS3> {
    let retries = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: PAUSES.0,
            max_backoff: PAUSES.1,
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_UNTIL,
    };
    AmazonS3Builder::new()
        .with_http_connector(Http(client))
        .with_retry(retries)
        .with_allow_http(at.allow_http)
        .with_endpoint(at.endpoint.as_str().trim_end_matches('/'))
        .with_region(&at.region)
        .with_bucket_name(&at.bucket)
        .with_access_key_id(&key.id)
        .with_secret_access_key(key.secret.as_str())
        // Not every service deletes many at once, and nobody asks for that here.
        .with_disable_bulk_delete(true)
        .build()
}

/// The node's HTTP client as object_store calls one.
#[derive(Clone, Debug)]
struct Http(reqwest::Client);

impl HttpConnector for Http {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

#[async_trait]
impl HttpService for Http {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap));
        let response = self.0.execute(request.map_err(broken)?).await;
        let response: axum::http::Response<reqwest::Body> = response.map_err(broken)?.into();
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_WHOLE_BYTES as usize).map_err(|error| match error
            .downcast::<reqwest::Error>(
        ) {
            Ok(error) => broken(*error),
            Err(error) => HttpError::new_boxed(HttpErrorKind::Decode, error),
        });
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

fn broken(error: reqwest::Error) -> HttpError {
    let kind = if error.is_timeout() {
        HttpErrorKind::Timeout
    } else if error.is_connect() {
        HttpErrorKind::Connect
    } else if error.is_decode() || error.is_builder() {
        HttpErrorKind::Decode
    } else {
        HttpErrorKind::Interrupted
    };
    HttpError::new(kind, error.without_url())
}

/// What the request that is behind an error came to.
pub(super) fn cause(error: &Error) -> String {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return interrupted(error).into();
        }
        next = error.source();
    }
    match status(error) {
        Some(status) => format!("it answers {status}"),
        None => "it answers what makes no sense; is the region right?".into(),
    }
}

/// The status of an answer that the library has no error of its own for.
pub(super) fn status(error: &Error) -> Option<u16> {
    // It says it in words alone, and behind them whatever the bucket wrote.
    let words = error.to_string();
    let (_, status) = words.split_once("status code: ")?;
    status.get(..3)?.parse().ok()
}

fn interrupted(error: &HttpError) -> &'static str {
    match error.kind() {
        HttpErrorKind::Connect => "it cannot be reached",
        HttpErrorKind::Timeout => "it does not answer in time",
        _ => "the connection broke off",
    }
}
