//! The plugin's side of C2SP age-plugin, state machine `recipient-v1`: wraps the file keys of an age client for one
//! contribution, sender proof included.
//!
//! This module must not know what is sealed, and it asks neither the node nor the person.

use std::io::{self, BufRead, Read, Write};

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use collective::seal::contribution;
use collective::seal::header::{FILE_KEY_LEN, FileKey, Stanza};
use collective::seal::plugin::ContributionRecipient;
use rand::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of one line that is read. The longest that means something names a hybrid recipient: about 2 200.
const MAX_LINE: usize = 16 * 1024;

/// Bytes of a command's body in base64: file keys have 22, other clients' new commands may have more.
const MAX_BODY: usize = 64 * 1024;

/// Full line of a body; a shorter one is the last.
const COLUMNS: usize = 64;

/// What a client puts in one set with other recipients of this name only (C2SP age, "Recipient stanza labels").
const POST_QUANTUM: &str = "postquantum";

/// Why the conversation ended early. What is wrong with recipients goes to the client instead.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The client is gone, or sends no text.
    #[error("talking to the age client: {0}")]
    Pipe(#[from] io::Error),
    /// Bytes that are no command.
    #[error("the age client sent no well-formed command")]
    Malformed,
    /// A line or body beyond [`MAX_LINE`] or [`MAX_BODY`].
    #[error("the age client sent a command that is too long")]
    TooLong,
    /// An answer other than `ok`.
    #[error("the age client did not accept a '{0}'")]
    NotAccepted(&'static str),
}

/// Holds the whole conversation: reads what is to be wrapped, answers with stanzas or with what is wrong.
///
/// # Errors
/// [`PluginError`].
pub fn recipient_v1(
    input: &mut impl BufRead,
    output: &mut impl Write,
    rng: &mut impl CryptoRng,
) -> Result<(), PluginError> {
    let request = Request::read(input)?;
    let mut client = Client { input, output };
    match request.checked() {
        Ok((recipient, file_keys)) => {
            if request.labels && recipient.recipient.is_post_quantum() {
                client.tell("labels", &[POST_QUANTUM], b"")?;
            }
            for (index, file_key) in file_keys.iter().enumerate() {
                let index = index.to_string();
                let stanzas =
                    contribution::wrap(&recipient.recipient, &recipient.context, file_key, rng);
                for stanza in &stanzas {
                    let mut metadata = vec![index.as_str(), stanza.kind()];
                    metadata.extend(stanza.arguments().iter().map(String::as_str));
                    client.tell("recipient-stanza", &metadata, stanza.body())?;
                }
            }
        }
        Err(faults) => {
            for fault in faults {
                let index = fault.index.map(|index| index.to_string());
                let metadata: Vec<&str> = [fault.of].into_iter().chain(index.as_deref()).collect();
                client.tell("error", &metadata, fault.message.as_bytes())?;
            }
        }
    }
    client.send("done", &[], b"")
}

/// What the client asks for in the first phase, in its order.
#[derive(Default)]
struct Request {
    recipients: Vec<String>,
    identities: usize,
    file_keys: Vec<Zeroizing<Vec<u8>>>,
    labels: bool,
}

impl Request {
    fn read(input: &mut impl BufRead) -> Result<Self, PluginError> {
        let mut request = Self::default();
        loop {
            let Command { words, body } = Command::read(input)?;
            match words[0].as_str() {
                "add-recipient" => {
                    let recipient = words.into_iter().nth(1).ok_or(PluginError::Malformed)?;
                    request.recipients.push(recipient);
                }
                "add-identity" => request.identities += 1,
                "wrap-file-key" => request.file_keys.push(body),
                "extension-labels" => request.labels = true,
                "done" => return Ok(request),
                // Grease, and commands of later clients.
                _ => {}
            }
        }
    }

    /// The one recipient and the file keys, or everything that is wrong.
    fn checked(&self) -> Result<(ContributionRecipient, Vec<FileKey>), Vec<Fault>> {
        let mut faults = Vec::new();
        let mut recipients = Vec::new();
        for (index, text) in self.recipients.iter().enumerate() {
            match text.parse::<ContributionRecipient>() {
                // Named twice it may have its two stanzas even of a client that counts (C2SP age-plugin, phase 2).
                Ok(recipient) if recipients.first() == Some(&recipient) && index == 1 => {}
                Ok(_) if index > 0 => faults.push(Fault::recipient(
                    index,
                    "a file is one contribution: it has one recipient of this kind",
                )),
                Ok(recipient) => recipients.push(recipient),
                Err(error) => faults.push(Fault::recipient(index, error)),
            }
        }
        faults.extend((0..self.identities).map(Fault::identity));
        let file_keys: Option<Vec<FileKey>> = self.file_keys.iter().map(file_key).collect();
        if self.recipients.is_empty() && self.identities == 0 {
            faults.push(Fault::internal("no recipient was given"));
        }
        if file_keys.is_none() {
            faults.push(Fault::internal("a file key has not 16 bytes"));
        }
        match (recipients.pop(), file_keys) {
            (Some(recipient), Some(file_keys)) if faults.is_empty() => Ok((recipient, file_keys)),
            _ => Err(faults),
        }
    }
}

fn file_key(bytes: &Zeroizing<Vec<u8>>) -> Option<FileKey> {
    let bytes = <[u8; FILE_KEY_LEN]>::try_from(bytes.as_slice()).ok()?;
    Some(FileKey::from_bytes(bytes))
}

/// Something that the client shows to the person.
struct Fault {
    of: &'static str,
    index: Option<usize>,
    message: String,
}

impl Fault {
    fn recipient(index: usize, message: impl ToString) -> Self {
        Self {
            of: "recipient",
            index: Some(index),
            message: message.to_string(),
        }
    }

    fn identity(index: usize) -> Self {
        Self {
            of: "identity",
            index: Some(index),
            message: "contributions are sealed to recipients, not to identities".to_owned(),
        }
    }

    fn internal(message: &str) -> Self {
        Self {
            of: "internal",
            index: None,
            message: message.to_owned(),
        }
    }
}

/// The second phase: this side speaks, the client answers each time.
struct Client<'a, R, W> {
    input: &'a mut R,
    output: &'a mut W,
}

impl<R: BufRead, W: Write> Client<'_, R, W> {
    /// Sends a command and waits until the client has accepted it.
    fn tell(
        &mut self,
        command: &'static str,
        metadata: &[&str],
        body: &[u8],
    ) -> Result<(), PluginError> {
        self.send(command, metadata, body)?;
        if Command::read(self.input)?.words[0] == "ok" {
            Ok(())
        } else {
            Err(PluginError::NotAccepted(command))
        }
    }

    fn send(&mut self, command: &str, metadata: &[&str], body: &[u8]) -> Result<(), PluginError> {
        let words = [command].into_iter().chain(metadata.iter().copied());
        let words = words.map(str::to_owned).collect();
        let stanza = Stanza::new(words, body.to_vec()).expect("own commands are printable words");
        self.output.write_all(&stanza.to_bytes())?;
        Ok(self.output.flush()?)
    }
}

/// A command or an answer, in the text form of an age stanza. Its body may be a file key.
struct Command {
    /// At least one.
    words: Vec<String>,
    body: Zeroizing<Vec<u8>>,
}

impl Command {
    fn read(input: &mut impl BufRead) -> Result<Self, PluginError> {
        let first = line(input)?;
        let words: Vec<String> = std::str::from_utf8(&first)
            .ok()
            .and_then(|text| text.strip_prefix("-> "))
            .ok_or(PluginError::Malformed)?
            .split(' ')
            .map(str::to_owned)
            .collect();
        let printable =
            |word: &String| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic());
        if !words.iter().all(printable) {
            return Err(PluginError::Malformed);
        }
        // Room beforehand for the bodies that are secret: a buffer that grows leaves copies behind.
        let mut encoded = Zeroizing::new(Vec::with_capacity(COLUMNS));
        loop {
            let line = line(input)?;
            if line.len() > COLUMNS {
                return Err(PluginError::Malformed);
            }
            encoded.extend_from_slice(&line);
            if encoded.len() > MAX_BODY {
                return Err(PluginError::TooLong);
            }
            if line.len() < COLUMNS {
                break;
            }
        }
        let body = BASE64.decode(encoded.as_slice());
        let body = Zeroizing::new(body.map_err(|_| PluginError::Malformed)?);
        Ok(Self { words, body })
    }
}

/// The next line without its line feed.
fn line(input: &mut impl BufRead) -> Result<Zeroizing<Vec<u8>>, PluginError> {
    let mut line = Zeroizing::new(Vec::with_capacity(COLUMNS + 1));
    input
        .take(MAX_LINE as u64 + 1)
        .read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() == MAX_LINE => Err(PluginError::TooLong),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}
