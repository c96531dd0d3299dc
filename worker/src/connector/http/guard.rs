//! Looking names up so that nobody is called who may not be (R72). Every address that a name stands for is looked at, and the
//! connection is made to one of just those that passed: no second look-up comes between, whose answer could be another. A
//! later connection looks the name up anew and looks at what comes of it anew.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lockstep_shared::network::OffLimits;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Looks names up as the system does.
#[derive(Clone, Copy, Debug)]
pub(super) struct SystemNames;

impl Resolve for SystemNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in its place by who connects.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// Gives only those addresses of a name that may be called.
pub(super) struct Guard {
    pub(super) names: Arc<dyn Resolve>,
    pub(super) allows: fn(IpAddr) -> bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, allows) = (self.names.resolve(name), self.allows);
        Box::pin(async move {
            let allowed: Vec<SocketAddr> = found.await?.filter(|address| allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(OffLimits::LeadsInside.into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter());
            Ok(addresses)
        })
    }
}

/// Says whether a request came to nothing because of where it would have gone.
pub(super) fn off_limits(error: &reqwest::Error) -> Option<OffLimits> {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(off_limits) = inner.downcast_ref::<OffLimits>() {
            return Some(*off_limits);
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use lockstep_shared::network::Destinations;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::{BODY_LIMIT, Client, Options};
    use super::*;
    use crate::connector::http::FetchError;
    use crate::connector::{CallError, Reach};

    /// Longest that a test waits for an answer.
    const PATIENCE: Duration = Duration::from_mins(1);

    /// A name server that answers each look-up with the next of its answers.
    struct Scripted(Mutex<Vec<Vec<IpAddr>>>);

    impl Scripted {
        fn new(answers: &[&[[u8; 4]]]) -> Arc<Self> {
            let answers = answers.iter().rev().map(|answer| {
                let addresses = answer.iter().map(|octets| IpAddr::from(*octets));
                addresses.collect()
            });
            Arc::new(Self(Mutex::new(answers.collect())))
        }

        fn is_spent(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
    }

    impl Resolve for Scripted {
        fn resolve(&self, _: Name) -> Resolving {
            let answer = self.0.lock().unwrap().pop().unwrap();
            Box::pin(async move {
                let addresses: Addrs = Box::new(answer.into_iter().map(|ip| SocketAddr::new(ip, 0)));
                Ok(addresses)
            })
        }
    }

    /// As if 127.0.0.2 were an address of the public network.
    fn as_if_public(address: IpAddr) -> bool {
        address == IpAddr::from([127, 0, 0, 2]) || Destinations::Public.allows(address)
    }

    fn client(names: Arc<dyn Resolve>, options: &Options) -> Client {
        let guard = Guard {
            names,
            allows: as_if_public,
        };
        Client::guarded(options, Some(Arc::new(guard)), None).unwrap()
    }

    fn any() -> Options {
        Options {
            timeout: PATIENCE,
            ..Options::local()
        }
    }

    /// A server that counts who came and says the same to all, closing each connection.
    struct Server {
        port: u16,
        visits: Arc<AtomicUsize>,
    }

    impl Server {
        /// `then` is said again and again until the other side has gone.
        async fn on(address: [u8; 4], says: String, then: Option<&'static str>) -> Self {
            let listener = TcpListener::bind((Ipv4Addr::from(address), 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let visits = Arc::new(AtomicUsize::new(0));
            let counted = visits.clone();
            tokio::spawn(async move {
                while let Ok((mut socket, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let says = says.clone();
                    tokio::spawn(async move {
                        let mut request = [0; 2048];
                        let _ = socket.read(&mut request).await;
                        let _ = socket.write_all(says.as_bytes()).await;
                        while let Some(then) = then {
                            if socket.write_all(then.as_bytes()).await.is_err() {
                                return;
                            }
                            tokio::task::yield_now().await;
                        }
                    });
                }
            });
            Self { port, visits }
        }

        async fn saying(says: &str) -> Self {
            Self::on([127, 0, 0, 1], says.to_owned(), None).await
        }

        fn visits(&self) -> usize {
            self.visits.load(Ordering::SeqCst)
        }

        fn url(&self, host: &str) -> url::Url {
            format!("http://{host}:{}/wp-json/", self.port).parse().unwrap()
        }
    }

    const HELLO: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";

    /// Names that lead to a public address and then to this computer, as they do in an attack by rebinding: the first
    /// connection goes where the look-up said, and the second is not made.
    #[tokio::test]
    async fn a_name_that_leads_elsewhere_later_is_refused_then() {
        let public = Server::on([127, 0, 0, 2], HELLO.to_owned(), None).await;
        let names = Scripted::new(&[&[[127, 0, 0, 2]], &[[127, 0, 0, 1]], &[[169, 254, 169, 254]]]);
        let client = client(names.clone(), &any());
        let url = public.url("shop.example.com");

        let first = client.read("WooCommerce", client.get(url.clone())).await.unwrap();
        let second = client.read("WooCommerce", client.get(url.clone())).await;
        let third = client.read("WooCommerce", client.get(url)).await;

        assert_eq!(first.body, b"hi");
        for refused in [second, third] {
            let error = refused.unwrap_err();
            assert!(
                matches!(
                    error,
                    CallError::Forbidden {
                        why: OffLimits::LeadsInside,
                        ..
                    }
                ),
                "R72: {error}"
            );
            let words = "WooCommerce can't be called: its address must not lead to this computer or a private network";
            assert_eq!(error.to_string(), words, "R72");
        }
        assert_eq!(public.visits(), 1);
        assert!(names.is_spent());
    }

    /// Of a name that has both kinds of addresses, only the public ones are tried: nobody hears anything at the others.
    #[tokio::test]
    async fn only_the_public_addresses_of_a_name_are_tried() {
        let inside = Server::saying(HELLO).await;
        let names = Scripted::new(&[&[[127, 0, 0, 1], [127, 0, 0, 2], [10, 0, 0, 1]]]);
        let client = client(names, &any());

        let outcome = client
            .read("Odoo", client.get(inside.url("erp.example.com")))
            .await;

        // Nobody listens at 127.0.0.2.
        assert!(
            matches!(
                outcome,
                Err(CallError::Unwell {
                    reach: Reach::NoEffect,
                    ..
                })
            ),
            "R72: {outcome:?}"
        );
        assert_eq!(inside.visits(), 0, "R72");
    }

    /// The resolver is not asked about numbers, nor is anything sent before the address was looked at.
    #[tokio::test]
    async fn a_number_and_a_name_of_this_computer_are_refused_before_anything_is_sent() {
        let inside = Server::saying(HELLO).await;
        let client = Client::new(&Options::default()).unwrap();
        let deadline = Instant::now() + PATIENCE;

        for host in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "[::ffff:127.0.0.1]",
            "localhost",
        ] {
            let url = format!("https://{host}:{}/", inside.port)
                .parse::<url::Url>()
                .unwrap();
            let read = client.read("Odoo", client.get(url.clone())).await;
            let written = client.write("Odoo", client.post(url), deadline).await;
            for outcome in [read, written] {
                assert!(
                    matches!(
                        outcome,
                        Err(CallError::Forbidden {
                            why: OffLimits::Private,
                            ..
                        })
                    ),
                    "R72: {host}: {outcome:?}"
                );
            }
        }
        let plain = client
            .read("Odoo", client.get(inside.url("erp.example.com")))
            .await;
        assert!(
            matches!(
                plain,
                Err(CallError::Forbidden {
                    why: OffLimits::Scheme,
                    ..
                })
            ),
            "R72: {plain:?}"
        );

        assert_eq!(inside.visits(), 0, "R72");
    }

    /// What people and records name goes the same way.
    #[tokio::test]
    async fn files_and_notifications_are_guarded_alike() {
        let inside = Server::saying(HELLO).await;
        let options = any();
        let guard = |answers: &[&[[u8; 4]]]| -> Option<Arc<dyn Resolve>> {
            let guard = Guard {
                names: Scripted::new(answers),
                allows: as_if_public,
            };
            Some(Arc::new(guard))
        };
        let client = Client::guarded(
            &options,
            guard(&[&[[127, 0, 0, 1]]]),
            guard(&[&[[192, 168, 0, 1]]]),
        )
        .unwrap();
        let url = inside.url("hooks.example.com");

        let told = client.tell(url.as_str(), &[], "{}".to_owned(), PATIENCE).await;
        let fetched = client.fetch(url.as_str(), 100, PATIENCE).await;

        let words = "its address must not lead to this computer or a private network";
        assert_eq!(told, Err(FetchError::Refused(words.to_owned())), "R72");
        assert_eq!(fetched, Err(FetchError::Refused(words.to_owned())), "R72");
        let strict = Client::new(&Options::default()).unwrap();
        for url in [
            "http://hooks.example.com",
            "https://a:b@hooks.example.com",
            "https://10.0.0.1",
        ] {
            let told = strict.tell(url, &[], "{}".to_owned(), PATIENCE).await;
            assert!(
                matches!(told, Err(FetchError::Refused(_))),
                "R72: {url}: {told:?}"
            );
        }
        assert_eq!(inside.visits(), 0, "R72");
    }

    /// A redirect is an answer like any other: nobody goes where it points, not even on the same host.
    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let target = Server::saying(HELLO).await;
        for status in [
            "301 Moved",
            "302 Found",
            "303 See Other",
            "307 Temporary",
            "308 Permanent",
        ] {
            let location = target.url("127.0.0.1");
            let says = format!(
                "HTTP/1.1 {status}\r\nlocation: {location}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            );
            let moved = Server::saying(&says).await;
            let client = Client::new(&any()).unwrap();

            let answer = client
                .read("WooCommerce", client.get(moved.url("127.0.0.1")))
                .await
                .unwrap();

            assert!(answer.status.is_redirection(), "{status}");
        }
        assert_eq!(target.visits(), 0, "R72");
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_at_the_limit() {
        let says = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        // One chunk of 4096 bytes, over and over.
        let chunk: &'static str = format!("1000\r\n{}\r\n", "x".repeat(4096)).leak();
        let endless = Server::on([127, 0, 0, 1], says, Some(chunk)).await;
        let client = Client::new(&any()).unwrap();

        let outcome = client.read("Odoo", client.get(endless.url("127.0.0.1"))).await;

        let words = outcome.unwrap_err().to_string();
        assert!(
            words.contains(&format!("larger than {BODY_LIMIT} bytes")),
            "R72: {words}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_says_it_is_too_large_is_not_read() {
        let says = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", BODY_LIMIT + 1);
        let large = Server::saying(&says).await;
        let client = Client::new(&any()).unwrap();

        let outcome = client.read("Odoo", client.get(large.url("127.0.0.1"))).await;

        let words = outcome.unwrap_err().to_string();
        assert!(words.contains("larger than"), "R72: {words}");
    }

    /// Bytes that keep coming keep nothing open for longer than a request may take as a whole.
    #[tokio::test]
    async fn an_answer_that_trickles_is_cut_at_the_time_limit() {
        let says = "HTTP/1.1 200 OK\r\ncontent-length: 30000000\r\n\r\n".to_owned();
        let slow = Server::on([127, 0, 0, 1], says, Some("")).await;
        let options = Options {
            timeout: Duration::from_millis(300),
            ..Options::local()
        };
        let client = Client::new(&options).unwrap();

        let outcome = client.read("Odoo", client.get(slow.url("127.0.0.1"))).await;

        let words = outcome.unwrap_err().to_string();
        assert!(words.contains("no answer in time"), "R72: {words}");
    }
}
