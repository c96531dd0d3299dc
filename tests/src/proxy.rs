//! A wire between workers and their database that can be cut, stalled and taken down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the wire does with what goes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Carries,
    /// Nothing gets through; connections stay.
    Stalls,
    /// Connections are cut, and new ones too.
    Refuses,
}

/// A wire to a port of this machine. It is cut when this value is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mood: Arc<watch::Sender<Mood>>,
    /// How often the far end was lost.
    losses: Arc<watch::Sender<u32>>,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Proxy {
    /// Opens a wire to a port.
    pub async fn to(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mood = Arc::new(watch::Sender::new(Mood::Carries));
        let losses = Arc::new(watch::Sender::new(0));
        let (moods, lost) = (mood.clone(), losses.clone());
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, port, moods.subscribe(), lost.subscribe()));
            }
        });
        Ok(Self {
            address,
            mood,
            losses,
            listener,
        })
    }

    /// The same address by way of this wire.
    pub fn rewired(&self, address: &str) -> String {
        let mut address = url::Url::parse(address).expect("an address");
        address
            .set_port(Some(self.address.port()))
            .expect("it has a host");
        address.into()
    }

    /// Cuts every connection; new ones are carried.
    pub fn cut(&self) {
        self.mood.send_replace(Mood::Refuses);
        self.mood.send_replace(Mood::Carries);
    }

    /// Lets nothing through for a while, without a word to anybody.
    pub async fn stall(&self, length: Duration) {
        self.mood.send_replace(Mood::Stalls);
        tokio::time::sleep(length).await;
        self.mood.send_replace(Mood::Carries);
    }

    /// Loses the far end of every connection, as where a machine dies: nobody says so to the near end, which waits. New ones
    /// are carried.
    pub fn lose(&self) {
        self.losses.send_modify(|losses| *losses += 1);
    }

    /// Cuts every connection and takes no new one for a while, as a server does that is replaced by another.
    pub async fn refuse(&self, length: Duration) {
        self.mood.send_replace(Mood::Refuses);
        tokio::time::sleep(length).await;
        self.mood.send_replace(Mood::Carries);
    }
}

async fn carry(near: TcpStream, port: u16, mut mood: watch::Receiver<Mood>, mut lost: watch::Receiver<u32>) {
    if *mood.borrow_and_update() == Mood::Refuses {
        return;
    }
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    // Whichever direction ends first takes the other with it: both halves are dropped.
    let is_lost = tokio::select! {
        _ = pour(&mut near_read, &mut far_write, mood.clone()) => false,
        _ = pour(&mut far_read, &mut near_write, mood.clone()) => false,
        // A mood that was there for a moment only is seen as a change all the same.
        () = was_cut(mood) => false,
        changed = lost.changed() => changed.is_ok(),
    };
    drop((far_read, far_write));
    if is_lost {
        // Open, and of no use, until the near end gives it up.
        let _ = tokio::io::copy(&mut near_read, &mut tokio::io::sink()).await;
    }
}

/// Resolves when connections of this age are cut.
async fn was_cut(mut mood: watch::Receiver<Mood>) {
    let mut was_stalled = *mood.borrow() == Mood::Stalls;
    while mood.changed().await.is_ok() {
        let now = *mood.borrow_and_update();
        match now {
            Mood::Refuses => return,
            // The moment of a cut may have gone by unseen.
            Mood::Carries if !was_stalled => return,
            Mood::Carries => was_stalled = false,
            Mood::Stalls => was_stalled = true,
        }
    }
}

async fn pour(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut mood: watch::Receiver<Mood>,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        if mood.wait_for(|mood| *mood != Mood::Stalls).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}
