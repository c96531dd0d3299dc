//! Fetching files from addresses that records name, and telling addresses that people gave: whoever writes one must not
//! make us look into our own network (R72).

use std::time::Duration;

use futures::StreamExt;
use lockstep_shared::network::OffLimits;
use reqwest::StatusCode;
use url::Url;

use super::{Client, guard, words};

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
        let too_large = || FetchError::Refused(format!("it has more than {limit} bytes"));
        let request = self.stranger.get(url).timeout(timeout);
        let response = request.send().await.map_err(|error| failed(&error))?;
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
            file.extend_from_slice(&chunk.map_err(|error| failed(&error))?);
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
        let url = read(address)?;
        self.destinations.check(&url).map_err(off_limits)?;
        let request = self.inner.post(url).timeout(timeout);
        let request = request.header("content-type", "application/json").body(body);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, value));
        let response = request.send().await.map_err(|error| failed(&error))?;
        Ok(response.status().as_u16())
    }

    /// Reads the address of a file. Those of pictures often begin with `http`; they are no secret.
    fn source(&self, address: &str) -> Result<Url, FetchError> {
        let url = read(address)?;
        if !matches!(url.scheme(), "http" | "https") {
            let message = "its address begins with neither `https` nor `http`";
            return Err(FetchError::Refused(message.to_owned()));
        }
        self.sources.check_host(&url).map_err(off_limits)?;
        Ok(url)
    }
}

fn read(address: &str) -> Result<Url, FetchError> {
    let message = "it is no address";
    address
        .parse()
        .map_err(|_| FetchError::Refused(message.to_owned()))
}

fn off_limits(why: OffLimits) -> FetchError {
    FetchError::Refused(format!("its address {why}"))
}

fn failed(error: &reqwest::Error) -> FetchError {
    guard::off_limits(error).map_or_else(|| FetchError::Unavailable(words(error)), off_limits)
}

#[cfg(test)]
mod tests {
    use lockstep_shared::network::Destinations;

    use super::super::Options;
    use super::*;

    async fn fetched(address: &str, sources: Destinations) -> Result<Vec<u8>, FetchError> {
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

        let by_number = fetched(&format!("http://127.0.0.1:{port}/a.png"), Destinations::Public).await;
        let by_name = fetched(&format!("http://localhost:{port}/a.png"), Destinations::Public).await;
        let allowed = fetched(&format!("http://localhost:{port}/a.png"), Destinations::Any).await;

        for refused in [by_number, by_name] {
            let words = "its address must not name this computer or a private network";
            assert_eq!(refused, Err(FetchError::Refused(words.to_owned())), "R72");
        }
        assert_eq!(allowed.as_deref(), Ok(&b"hi"[..]));
        assert!(fetched("file:///etc/passwd", Destinations::Any).await.is_err());
    }

    #[tokio::test]
    async fn a_file_has_a_largest_size_and_a_redirect_leads_nowhere() {
        let told = server("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n").await;
        let moved =
            server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n").await;
        let down = server("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let at = |port: u16| format!("http://127.0.0.1:{port}/a.png");

        let large = fetched(&at(told), Destinations::Any).await;

        assert_eq!(
            large,
            Err(FetchError::Refused("it has more than 100 bytes".to_owned()))
        );
        let moved = fetched(&at(moved), Destinations::Any).await;
        assert_eq!(moved, Err(FetchError::Refused("status 302".to_owned())));
        let down = fetched(&at(down), Destinations::Any).await;
        assert_eq!(down, Err(FetchError::Unavailable("status 503".to_owned())));
    }
}
