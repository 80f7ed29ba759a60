//! Whose turn it is to ask a place, and how long a place that a stranger named may take: its clock runs while it is asked, and not
//! while others are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::{PlaceError, Places};

/// Tries under way at one host: as many as a browser makes.
pub const AT_ONE_HOST: usize = 6;

/// Tries under way at all hosts: a share of the descriptors that `http::serve` leaves to everything else.
pub(super) const AT_ONCE: usize = 64;

/// Of these for strangers, who may name any host: the rest is for audits and jobs.
pub(super) const FOR_STRANGERS: usize = 16;

/// Tries under way for strangers at one host: the rest of [`AT_ONE_HOST`] is for audits and jobs, at the gateway above all.
const STRANGERS_AT_ONE_HOST: usize = 2;

/// A look at one place that a stranger named.
pub(super) struct Look {
    _permit: OwnedSemaphorePermit,
    /// What the place may still take.
    left: Mutex<Duration>,
    /// Waiting for turns included.
    until: Instant,
}

impl Look {
    fn left(&self) -> MutexGuard<'_, Duration> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a look ends that has a turn whenever it wants one.
pub(super) const TOO_SLOW: &str = "it gives the file too slowly to be looked at here";

/// Tries at a host, for as long as somebody makes or waits for one.
pub(super) type Hosts = HashMap<(String, For), Weak<Semaphore>>;

/// Whose tries are counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum For {
    Everybody,
    Strangers,
}

/// Held while a try is under way.
pub(super) struct Turn {
    _stranger: Option<OwnedSemaphorePermit>,
    _at_host: OwnedSemaphorePermit,
    _anywhere: OwnedSemaphorePermit,
}

impl Places {
    /// These for a place that a stranger named, with few tries at each host: the place has `own` for all of them together. Whoever
    /// is not done after `in_all`, which is longer, has waited for turns, and is told so.
    ///
    /// # Errors
    /// [`PlaceError::Busy`] while enough others do that.
    pub fn for_a_stranger(&self, own: Duration, in_all: Duration) -> Result<Self, PlaceError> {
        let permit = self.strangers.clone().try_acquire_owned();
        let look = Look {
            _permit: permit.map_err(|_| PlaceError::Busy)?,
            left: Mutex::new(own),
            until: Instant::now() + in_all,
        };
        Ok(Self {
            look: Some(Arc::new(look)),
            ..self.clone()
        })
    }

    /// Waits until fewer than [`AT_ONE_HOST`] tries are under way there, of them fewer than [`STRANGERS_AT_ONE_HOST`] for strangers
    /// if this is one of these, and fewer than [`AT_ONCE`] everywhere.
    ///
    /// # Errors
    /// [`PlaceError::Busy`] to a stranger who has waited too long.
    pub(super) async fn turn(&self, url: &Url) -> Result<Turn, PlaceError> {
        let Some(look) = &self.look else {
            return Ok(self.next_turn(url).await);
        };
        let turn = timeout_at(look.until, self.next_turn(url)).await;
        turn.map_err(|_| PlaceError::Busy)
    }

    async fn next_turn(&self, url: &Url) -> Turn {
        let host = url.host_str().unwrap_or_default();
        let taken = async |turns: Arc<Semaphore>| {
            let turn = turns.acquire_owned().await;
            turn.expect("nobody closes it")
        };
        // In this order, so that whoever waits for one host holds up nobody at another, and a stranger at none but strangers.
        let stranger = match self.look {
            Some(_) => Some(taken(self.turns(host, For::Strangers)).await),
            None => None,
        };
        Turn {
            _stranger: stranger,
            _at_host: taken(self.turns(host, For::Everybody)).await,
            _anywhere: taken(self.all.clone()).await,
        }
    }

    fn turns(&self, host: &str, whose: For) -> Arc<Semaphore> {
        let at_once = match whose {
            For::Everybody => AT_ONE_HOST,
            For::Strangers => STRANGERS_AT_ONE_HOST,
        };
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.retain(|_, turns| turns.strong_count() > 0);
        let key = (host.to_owned(), whose);
        let turns = hosts.get(&key).and_then(Weak::upgrade);
        let turns = turns.unwrap_or_else(|| Arc::new(Semaphore::new(at_once)));
        hosts.insert(key, Arc::downgrade(&turns));
        turns
    }

    /// What a place gives while it may take its time, which is taken off what it has left.
    pub(super) async fn in_time<T>(
        &self,
        patience: &mut Duration,
        asked: impl Future<Output = Result<T, PlaceError>>,
    ) -> Result<T, PlaceError> {
        let began = Instant::now();
        let mut end = (*patience, PlaceError::Silent("it took too long"));
        if let Some(look) = &self.look {
            let until = look.until.saturating_duration_since(began);
            let of_place = (*look.left(), PlaceError::Silent(TOO_SLOW));
            for other in [of_place, (until, PlaceError::Busy)] {
                if other.0 < end.0 {
                    end = other;
                }
            }
        }
        let (limit, why) = end;
        if limit.is_zero() {
            return Err(why);
        }
        let asked = timeout(limit, asked).await;
        let took = began.elapsed();
        *patience = patience.saturating_sub(took);
        if let Some(look) = &self.look {
            let mut left = look.left();
            *left = left.saturating_sub(took);
        }
        asked.map_err(|_| why)?
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use collective::permit::Fault;
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::tests::places;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn for_a_stranger(places: &Places) -> Option<Places> {
        places.for_a_stranger(LONG, LONG).ok()
    }

    #[tokio::test]
    async fn strangers_leave_room_at_each_host_for_audits_and_jobs() {
        let places = places(&[]);
        let host = "https://gateway.example".parse().expect("a URL");
        let other = "https://other.example".parse().expect("a URL");
        let strangers = [(); 3].map(|()| for_a_stranger(&places).expect("a turn"));
        let [first, second, third] = &strangers;
        let taken = [first.turn(&host), second.turn(&host)].map(|turn| turn.now_or_never());
        assert!(taken.iter().all(Option::is_some));
        assert!(third.turn(&host).now_or_never().is_none());
        assert!(third.turn(&other).now_or_never().is_some());
        let own = [(); AT_ONE_HOST].map(|()| places.turn(&host).now_or_never());
        let got = own.iter().flatten().count();
        assert_eq!(got, AT_ONE_HOST - STRANGERS_AT_ONE_HOST);
        drop(taken);
        assert!(third.turn(&host).now_or_never().is_some());
    }

    #[test]
    fn only_so_many_strangers_are_served_at_once() {
        let places = places(&[]);
        let all = [(); FOR_STRANGERS].map(|()| for_a_stranger(&places));
        assert!(all.iter().all(Option::is_some) && for_a_stranger(&places).is_none());
        drop(all);
        assert!(for_a_stranger(&places).is_some());
    }

    /// Gives `hello` to whoever asks.
    async fn server() -> (Places, Url) {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer =
                    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello";
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await;
                assert!(read.is_ok_and(|read| read > 0));
                stream.write_all(answer).await.expect("written");
            }
        });
        let url = format!("http://{address}/").parse().expect("a URL");
        (places(&[&address]), url)
    }

    #[tokio::test]
    async fn waiting_for_a_turn_is_the_nodes_time_and_all_else_the_places() {
        let (places, url) = server().await;
        let turns = [(); STRANGERS_AT_ONE_HOST].map(|()| for_a_stranger(&places));
        let mut taken = vec![];
        for stranger in turns.iter().flatten() {
            taken.push(stranger.turn(&url).await.expect("a turn"));
        }
        // Nobody gives it one in the time that it has in all.
        let hurried = places.for_a_stranger(LONG, Duration::ZERO).expect("a look");
        let refused = hurried.fetch(url.clone(), 0..5, LONG).await;
        assert_eq!(refused, Err(PlaceError::Busy));
        assert_eq!(PlaceError::Busy.fault(), Fault::Operator);

        // It waits, and the place is said to have taken no more than what came after.
        let patient = places.for_a_stranger(LONG, 2 * LONG).expect("a look");
        let waiting = patient.fetch(url.clone(), 0..5, LONG);
        let later = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            taken.clear();
            Instant::now()
        };
        let (fetched, asked_at) = tokio::join!(waiting, later);
        assert_eq!(fetched, Ok(Bytes::from_static(b"hello")));
        let left = *patient.look.as_ref().expect("a look").left();
        assert!(left < LONG && LONG - left <= asked_at.elapsed());

        // What a place took in one try it does not have in the next.
        let slow = places.for_a_stranger(Duration::ZERO, LONG).expect("a look");
        let refused = slow.fetch(url.clone(), 0..5, LONG).await;
        assert_eq!(refused, Err(PlaceError::Silent(TOO_SLOW)));
        let late = places.for_a_stranger(LONG, Duration::ZERO).expect("a look");
        assert_eq!(late.fetch(url, 0..5, LONG).await, Err(PlaceError::Busy));
    }
}
