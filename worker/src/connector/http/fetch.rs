//! Fetching files from addresses that records name, and telling addresses that people gave: whoever writes one must not
//! make us look into our own network (R72). What a name resolves to is looked at as the connection is made, so that it can't be another address then.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use lockstep_shared::network;
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::{Client, Sources, words};

/// Why a file was not fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It will not be fetched, however often it is tried.
    #[error("{0}")]
    Refused(String),
    /// It could not be had just now.
    #[error("{0}")]
    Unavailable(String),
}

impl Client {
    /// Fetches a file of at most `limit` bytes, by one request without credentials. Redirects are not followed.
    pub async fn fetch(&self, address: &str, limit: usize, timeout: Duration) -> Result<Vec<u8>, FetchError> {
        let url = self.source(address)?;
        let unavailable = |error: reqwest::Error| FetchError::Unavailable(words(&error));
        let too_large = || FetchError::Refused(format!("it has more than {limit} bytes"));
        let request = self.stranger.get(url).timeout(timeout);
        let response = request.send().await.map_err(unavailable)?;
        let status = response.status();
        if !status.is_success() {
            let message = format!("status {}", status.as_u16());
            let is_busy = matches!(
                status,
                StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
            );
            return Err(if status.is_server_error() || is_busy {
                FetchError::Unavailable(message)
            } else {
                FetchError::Refused(message)
            });
        }
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_large());
        }
        let mut file = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            file.extend_from_slice(&chunk.map_err(unavailable)?);
            if file.len() > limit {
                return Err(too_large());
            }
        }
        Ok(file)
    }

    /// Sends a few headers and a JSON body to an address that people gave, without credentials of ours. Returns the status
    /// of the answer, whose body is not read. Redirects are not followed.
    pub async fn tell(
        &self,
        address: &str,
        headers: &[(&'static str, String)],
        body: String,
        timeout: Duration,
    ) -> Result<u16, FetchError> {
        let url = self.source(address)?;
        let request = self.stranger.post(url).timeout(timeout);
        let request = request.header("content-type", "application/json").body(body);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value));
        let response = request.send().await;
        let response = response.map_err(|error| FetchError::Unavailable(words(&error)))?;
        Ok(response.status().as_u16())
    }

    /// Reads an address, and refuses what it says by itself; names are looked at by [`PublicNames`].
    fn source(&self, address: &str) -> Result<Url, FetchError> {
        let refused = |message: &str| FetchError::Refused(message.to_owned());
        let url: Url = address.parse().map_err(|_| refused("it is no address"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused("its address begins with neither `https` nor `http`"));
        }
        let ip = match url.host() {
            Some(Host::Ipv4(ip)) => Some(ip.into()),
            Some(Host::Ipv6(ip)) => Some(ip.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if self.sources == Sources::Public && ip.is_some_and(network::is_private) {
            return Err(refused(PRIVATE));
        }
        Ok(url)
    }
}

const PRIVATE: &str = "its address is of a private network";

/// Resolves names to public addresses alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct PublicNames;

impl Resolve for PublicNames {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is put in its place by who connects.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<SocketAddr> = found
                .filter(|address| !network::is_private(address.ip()))
                .collect();
            if public.is_empty() {
                return Err(PRIVATE.into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Options;
    use super::*;

    async fn fetched(address: &str, sources: Sources) -> Result<Vec<u8>, FetchError> {
        let options = Options {
            sources,
            ..Options::default()
        };
        let client = Client::new(&options).unwrap();
        client.fetch(address, 100, Duration::from_secs(5)).await
    }

    /// Answers every connection with the same bytes.
    async fn server(answer: &'static str) -> u16 {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = [0; 1024];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    #[tokio::test]
    async fn what_leads_into_our_own_network_is_not_fetched() {
        let port = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;

        let by_number = fetched(&format!("http://127.0.0.1:{port}/a.png"), Sources::Public).await;
        let by_name = fetched(&format!("http://localhost:{port}/a.png"), Sources::Public).await;
        let allowed = fetched(&format!("http://localhost:{port}/a.png"), Sources::Any).await;

        assert_eq!(by_number, Err(FetchError::Refused(PRIVATE.to_owned())));
        assert!(by_name.is_err(), "{by_name:?}");
        assert_eq!(allowed.as_deref(), Ok(&b"hi"[..]));
        assert!(fetched("file:///etc/passwd", Sources::Any).await.is_err());
    }

    #[tokio::test]
    async fn a_file_has_a_largest_size_and_a_redirect_leads_nowhere() {
        let told = server("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n").await;
        let moved =
            server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n").await;
        let down = server("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let at = |port: u16| format!("http://127.0.0.1:{port}/a.png");

        let large = fetched(&at(told), Sources::Any).await;

        assert_eq!(
            large,
            Err(FetchError::Refused("it has more than 100 bytes".to_owned()))
        );
        let moved = fetched(&at(moved), Sources::Any).await;
        assert_eq!(moved, Err(FetchError::Refused("status 302".to_owned())));
        let down = fetched(&at(down), Sources::Any).await;
        assert_eq!(down, Err(FetchError::Unavailable("status 503".to_owned())));
    }
}
