//! `GET /programs`, `GET /programs/{digest}`: how approved programs stand at this node.

use axum::Json;
use axum::extract::{Path, State};
use collective::id::ManifestDigest;

use super::{App, Deployed, Problem};

/// Gives all that were ever approved, by their manifests' digests.
pub async fn all(State(app): State<App>) -> Json<Vec<Deployed>> {
    Json(app.programs.borrow().values().cloned().collect())
}

/// Gives one.
pub async fn one(
    State(app): State<App>,
    Path(digest): Path<String>,
) -> Result<Json<Deployed>, Problem> {
    let digest: ManifestDigest = digest
        .parse()
        .map_err(|_| Problem::malformed("a manifest's digest is 32 bytes in hex"))?;
    let deployed = app.programs.borrow().get(&digest).cloned();
    let missing = || {
        Problem::missing(format!(
            "no final vote approved manifest {digest}: `collective proposal show` says how a proposal stands"
        ))
    };
    Ok(Json(deployed.ok_or_else(missing)?))
}
