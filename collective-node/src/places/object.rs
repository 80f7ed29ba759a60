//! A place in a bucket of an S3-compatible service. Whoever has its key can ask for it by an address that is signed and holds for
//! minutes; that is then a place as any other at a web server.

use url::Url;
use zeroize::Zeroizing;

use super::PlaceError;
use super::address::decoded;

/// The region of a place that names none: that of services which have no regions.
const REGION: &str = "us-east-1";

const NO_OBJECT: &str = "it is no s3://KEY:SECRET@host/bucket/path?region=…, with what is no letter or digit in KEY and SECRET as %XX";

/// An object and what opens it. It has a secret, so it has no Debug.
pub(super) struct Object {
    /// `//host:port`, the service.
    service: String,
    #[cfg_attr(not(feature = "s3"), allow(dead_code))]
    access: Access,
}

#[cfg_attr(not(feature = "s3"), allow(dead_code))]
struct Access {
    bucket: String,
    path: String,
    region: String,
    id: String,
    secret: Zeroizing<String>,
}

impl Object {
    pub fn parse(url: &Url) -> Result<Self, &'static str> {
        let text = |part: &str| {
            let text = String::from_utf8(decoded(part)).ok();
            text.filter(|it| !it.is_empty())
        };
        let region = match url.query() {
            None => Some(REGION),
            Some(query) => query.strip_prefix("region="),
        };
        let is_region = |it: &&str| {
            let letter = |it: char| it.is_ascii_alphanumeric() || it == '-';
            !it.is_empty() && it.chars().all(letter)
        };
        let parsed = || {
            let host = url.host_str().filter(|it| !it.is_empty())?;
            let port = url.port().map(|port| format!(":{port}"));
            let (bucket, path) = url.path().strip_prefix('/')?.split_once('/')?;
            Some(Self {
                service: format!("//{host}{}", port.unwrap_or_default()),
                access: Access {
                    bucket: text(bucket).filter(|it| !it.contains('/'))?,
                    path: text(path)?,
                    region: region.filter(is_region)?.to_owned(),
                    id: text(url.username())?,
                    secret: text(url.password()?)?.into(),
                },
            })
        };
        let parsed = parsed().filter(|_| url.fragment().is_none());
        parsed.ok_or(NO_OBJECT)
    }

    /// The service, as it is spoken to with or without TLS.
    pub fn service(&self, scheme: &str) -> Option<Url> {
        format!("{scheme}:{}/", self.service).parse().ok()
    }

    /// Where anybody may read the object for a while.
    #[cfg(feature = "s3")]
    pub async fn signed(&self, service: &Url, http: reqwest::Client) -> Result<Url, PlaceError> {
        use crate::blobs::s3::{AccessKey, At, signed};

        let Access { id, secret, .. } = &self.access;
        let at = At {
            endpoint: service.clone(),
            bucket: self.access.bucket.clone(),
            region: self.access.region.clone(),
            prefix: String::new(),
            allow_http: service.scheme() == "http",
        };
        let key = AccessKey {
            id: id.clone(),
            secret: secret.clone(),
        };
        let signed = signed(&at, &key, http, &self.access.path).await;
        signed.map_err(|_| PlaceError::Refused(NO_OBJECT))
    }

    /// A build without S3 signs nothing.
    #[cfg(not(feature = "s3"))]
    pub async fn signed(&self, _: &Url, _: reqwest::Client) -> Result<Url, PlaceError> {
        Err(PlaceError::NoBuckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Object> {
        Object::parse(&text.parse().expect("a URL")).ok()
    }

    #[test]
    fn a_key_an_object_and_where_it_is_and_nothing_less() {
        let object =
            parse("s3://AKIA:a%2Fb+c%3D@s3.example:9000/box/folder/my%20file.age?region=eu-1");
        let object = object.expect("a place");
        let Access {
            bucket,
            path,
            region,
            id,
            secret,
        } = &object.access;
        assert_eq!(
            [bucket, path, region, id],
            ["box", "folder/my file.age", "eu-1", "AKIA"]
        );
        assert_eq!(secret.as_str(), "a/b+c=");
        let service = object.service("https").expect("a URL");
        assert_eq!(service.as_str(), "https://s3.example:9000/");
        let without = parse("s3://id:secret@s3.example/box/file").expect("a place");
        assert_eq!(without.access.region, REGION);
        for text in [
            "s3://s3.example/box/file",
            "s3://id@s3.example/box/file",
            "s3://id:secret@s3.example/box",
            "s3://id:secret@s3.example/box/",
            "s3://id:secret@s3.example/b%2Fx/file",
            "s3://id:secret@s3.example/box/%FF",
            "s3://id:secret@/box/file",
            "s3://id:secret@s3.example/box/file?region=",
            "s3://id:secret@s3.example/box/file?region=a&x=b",
            "s3://id:secret@s3.example/box/file?versionId=3",
            "s3://id:secret@s3.example/box/file#part",
        ] {
            assert!(
                text.parse::<Url>().is_err() || parse(text).is_none(),
                "{text}"
            );
        }
    }
}
