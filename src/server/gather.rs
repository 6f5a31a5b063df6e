//! Writes to a connection in few and large pieces.
//!
//! h2 writes whenever a stream has something to send. The runtime runs the task of a connection right after that of a stream which woke
//! it, so each answer would be written by itself; and where a connection takes several slices at once, each message of
//! 256 bytes or more, and the trailers after it, by themselves. Those system calls cost more than the rest of HTTP/2. So what is
//! written waits here until the tasks that are ready already have had their turn, or enough has gathered.
//!
//! A connection that says it takes one slice at a time has h2 gather frames of less than a kilobyte by itself; it waits for
//! longer ones to be written. `rpc/layer/body.rs` cuts messages accordingly.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What is held at most. More is written at once.
const HELD_BYTES_MAX: usize = 16 * 1024;
/// So much does not wait for more.
const ENOUGH_BYTES: usize = 8 * 1024;
/// After so many waits in vain nobody is about to add anything.
const IN_VAIN_MAX: u8 = 2;
/// Then so many pieces do not wait, before one does again.
const UNWAITED: u8 = 8;
/// The room that is kept while nothing is held.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// A connection that is written to in few pieces.
pub(super) struct Gather<T> {
    inner: T,
    /// What was taken, and not written yet.
    held: Vec<u8>,
    /// It has waited for others, when so much was held.
    waited_at: Option<usize>,
    /// How many of the last waits were in vain, and then, how many pieces did not wait.
    in_vain: u8,
}

impl<T> Gather<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, held: Vec::new(), waited_at: None, in_vain: 0 }
    }

    /// Ready when other tasks have had their turn. Whoever wakes itself comes after all that are ready already.
    fn poll_turn(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.waited_at.is_some() || self.held.is_empty() || self.held.len() >= ENOUGH_BYTES {
            return Poll::Ready(());
        }
        if self.in_vain >= IN_VAIN_MAX {
            self.in_vain =
                if self.in_vain < IN_VAIN_MAX + UNWAITED { self.in_vain + 1 } else { IN_VAIN_MAX - 1 };
            return Poll::Ready(());
        }
        self.waited_at = Some(self.held.len());
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T: AsyncWrite + Unpin> Gather<T> {
    /// Writes what is held, and after it some of what follows; of that, how much.
    fn poll_write_on(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let inner = Pin::new(&mut self.inner);
            if self.held.is_empty() {
                return inner.poll_write(context, bytes);
            }
            let slices = [IoSlice::new(&self.held), IoSlice::new(bytes)];
            let written = ready!(inner.poll_write_vectored(context, &slices))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_bytes = written.saturating_sub(self.held.len());
            self.held.drain(..written - of_bytes);
            if self.held.is_empty() && (of_bytes > 0 || bytes.is_empty()) {
                return Poll::Ready(Ok(of_bytes));
            }
        }
    }

    fn poll_write_held(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(waited_at) = self.waited_at.take() {
            self.in_vain = if self.held.len() > waited_at { 0 } else { self.in_vain + 1 };
        }
        if !self.held.is_empty() {
            ready!(self.poll_write_on(context, &[]))?;
        }
        if self.held.capacity() > KEPT_BYTES_MAX {
            self.held = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.held.len() + bytes.len() <= HELD_BYTES_MAX {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_write_on(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_turn(context));
        ready!(self.poll_write_held(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_held(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        false
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<T: Connected> Connected for Gather<T> {
    type ConnectInfo = T::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Takes so many bytes in a write, and makes who writes wait each second time.
    struct Socket {
        takes: usize,
        is_full: bool,
        writes: Vec<Vec<u8>>,
    }

    impl Socket {
        fn new(takes: usize) -> Self {
            Self { takes, is_full: false, writes: Vec::new() }
        }
    }

    impl AsyncWrite for Socket {
        fn poll_write(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.is_full = !self.is_full && self.takes < usize::MAX;
            if self.is_full {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let taken = bytes.len().min(self.takes);
            self.writes.push(bytes[..taken].to_vec());
            Poll::Ready(Ok(taken))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            context: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            self.poll_write(context, &bytes)
        }

        fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// As the streams of a connection do: each writes when it has its turn.
    #[tokio::test]
    async fn what_is_written_before_the_turn_of_others_is_over_is_one_piece() {
        let gather = Arc::new(tokio::sync::Mutex::new(Gather::new(Socket::new(usize::MAX))));
        let write = |text: &'static [u8]| {
            let gather = Arc::clone(&gather);
            async move { gather.lock().await.write_all(text).await }
        };
        let (first, flushed) = (write(b"one"), Arc::clone(&gather));
        let tasks = [
            tokio::spawn(async move {
                first.await?;
                let flush = |context: &mut Context<'_>| match flushed.try_lock() {
                    Ok(mut gather) => Pin::new(&mut *gather).poll_flush(context),
                    Err(_) => unreachable!("nobody keeps it"),
                };
                std::future::poll_fn(flush).await
            }),
            tokio::spawn(write(b"two")),
            tokio::spawn(write(b"six")),
        ];
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let mut gather = gather.lock().await;
        assert_eq!(gather.inner.writes, [b"onetwosix"], "and it was not forgotten");

        gather.write_all(b"next").await.unwrap();
        gather.flush().await.unwrap();
        assert_eq!(gather.inner.writes.len(), 2);
    }

    #[tokio::test]
    async fn much_does_not_wait() {
        let mut gather = Gather::new(Socket::new(usize::MAX));
        gather.write_all(b"head").await.unwrap();
        gather.write_all(&[7; HELD_BYTES_MAX]).await.unwrap();
        let sizes: Vec<_> = gather.inner.writes.iter().map(Vec::len).collect();
        assert_eq!(sizes, [4 + HELD_BYTES_MAX], "the head went with it");
    }

    #[tokio::test]
    async fn nothing_is_lost_or_moved_by_a_connection_that_takes_little() {
        for takes in [1, 3, 1000, HELD_BYTES_MAX + 1] {
            let mut gather = Gather::new(Socket::new(takes));
            let mut expected = Vec::new();
            for (turn, bytes) in
                [5_usize, 0, HELD_BYTES_MAX - 5, 1, 700, 2 * HELD_BYTES_MAX, 9].iter().enumerate()
            {
                let piece: Vec<u8> = (0..251).cycle().skip(turn).take(*bytes).collect();
                gather.write_all(&piece).await.unwrap();
                expected.extend(piece);
                if turn % 3 == 2 {
                    gather.flush().await.unwrap();
                    assert_eq!(gather.inner.writes.concat(), expected);
                }
            }
            gather.shutdown().await.unwrap();
            assert_eq!(gather.inner.writes.concat(), expected, "{takes} at once");
        }
    }
}
