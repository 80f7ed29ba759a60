//! Why there is no answer, and who has to do what.

use std::io;
use std::time::Duration;

use axum::http::StatusCode;
use collective::id::TransportPin;
use collective::permit::Fault;
use thiserror::Error;

use super::Remote;
use crate::driver::fault_name;
use crate::http::Problem;

/// Why a peer gave no answer.
#[derive(Debug, Error)]
pub enum WireError {
    /// No address.
    #[error("'{0}' is no node's endpoint: it reads https://host:port and nothing more")]
    Address(String),
    /// The question is too long; nothing was sent.
    #[error("{bytes} bytes are more than the {limit} that {path} takes")]
    RequestOversize {
        /// Where it would go.
        path: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest.
        limit: usize,
    },
    /// No connection.
    #[error(
        "{remote} cannot be reached: {error}; check that the node runs and that its registered endpoint is right"
    )]
    Unreachable {
        /// Whom.
        remote: Remote,
        /// Why.
        error: io::Error,
    },
    /// Somebody else answers, or the node uses a key that it has not registered.
    #[error(
        "{remote} shows key {found}, the chain names {expected}: another machine answers there, or its operator changed the key without registering it",
        expected = .remote.pin()
    )]
    AnotherKey {
        /// Whom, with the pin that the chain names.
        remote: Remote,
        /// What was shown.
        found: TransportPin,
    },
    /// The peer does not take our key.
    #[error(
        "{remote} refuses our key {own} ({alert}): it takes only keys that are registered and accepted in a block that it has seen"
    )]
    NotAllowed {
        /// Whom.
        remote: Remote,
        /// Our pin.
        own: TransportPin,
        /// What TLS said.
        alert: String,
    },
    /// What answers is no node.
    #[error("{remote} does not speak TLS 1.3 with raw public keys: {error}")]
    Handshake {
        /// Whom.
        remote: Remote,
        /// What happened.
        error: io::Error,
    },
    /// The connection ended in the middle. The question may have had its effect.
    #[error("{remote} hung up before it answered: {error}")]
    Broken {
        /// Whom.
        remote: Remote,
        /// What happened.
        error: String,
    },
    /// No answer in time. The question may have had its effect.
    #[error("{remote} did not answer {path} in {limit:?}")]
    TimedOut {
        /// Whom.
        remote: Remote,
        /// Where.
        path: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The answer is too long; the rest was not read.
    #[error("{remote} answers with more than {limit} bytes")]
    AnswerOversize {
        /// Whom.
        remote: Remote,
        /// The longest.
        limit: usize,
    },
    /// The peer said no, and who has to act as it sees it.
    #[error("{remote} refused ({status}, fault: {fault}): {detail}", status = .problem.status, fault = fault_name(.problem.fault), detail = .problem.detail)]
    Refused {
        /// Whom.
        remote: Remote,
        /// What it said.
        problem: Box<Problem>,
    },
    /// The peer answered something else.
    #[error(
        "{remote} answered {status} with '{media_type}', which is no answer to {path}; run the same version"
    )]
    Unexpected {
        /// Whom.
        remote: Remote,
        /// Where.
        path: &'static str,
        /// Its status.
        status: StatusCode,
        /// Its content type.
        media_type: String,
    },
}

impl WireError {
    /// Who has to act, seen from here.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Address(_) | Self::RequestOversize { .. } | Self::NotAllowed { .. } => {
                Fault::Operator
            }
            Self::Refused { problem, .. } => match problem.fault {
                // Its peer is this node, its operator is another than ours.
                Fault::Peer => Fault::Operator,
                Fault::Operator => Fault::Peer,
                other => other,
            },
            _ => Fault::Peer,
        }
    }
}
