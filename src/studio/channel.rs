//! What crosses between the window and the actor: small messages in order, and slots that hold the latest value.
//!
//! Neither side waits for the other. Off the browser the actor is a thread that sleeps until a message wakes it; in the
//! browser it is a task of the page's own thread, and the same code.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is whole after every operation here: a panic elsewhere does not spoil it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Queue<T> {
    messages: VecDeque<T>,
    reader: Option<Waker>,
    senders: usize,
}

/// The writing end of a channel.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<Queue<T>>>);

/// The reading end.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Mutex<Queue<T>>>);

/// A channel without a bound: its messages are small.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let queue = Arc::new(Mutex::new(Queue { messages: VecDeque::new(), reader: None, senders: 1 }));
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.0).senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.senders -= 1;
        // The last sender's end is news too. The end of another is none, and the reader must go on being known.
        if queue.senders == 0
            && let Some(reader) = queue.reader.take()
        {
            drop(queue);
            reader.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Appends a message and wakes the reader.
    pub fn send(&self, message: T) {
        let mut queue = lock(&self.0);
        queue.messages.push_back(message);
        if let Some(reader) = queue.reader.take() {
            drop(queue);
            reader.wake();
        }
    }
}

impl<T> Receiver<T> {
    /// The next message, if there is one.
    pub fn try_next(&self) -> Option<T> {
        lock(&self.0).messages.pop_front()
    }

    /// Whether a message waits that `wanted` picks.
    pub fn any(&self, wanted: impl FnMut(&T) -> bool) -> bool {
        lock(&self.0).messages.iter().any(wanted)
    }

    /// The next message; `None` when every sender is gone and no message is left.
    pub async fn next(&self) -> Option<T> {
        std::future::poll_fn(|context| {
            let mut queue = lock(&self.0);
            match queue.messages.pop_front() {
                Some(message) => Poll::Ready(Some(message)),
                None if queue.senders == 0 => Poll::Ready(None),
                None => {
                    queue.reader = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Holds the latest value until it is taken; what nobody took in time is gone.
#[derive(Debug)]
pub struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(None)))
    }
}

impl<T> Slot<T> {
    /// Puts a value in place of the one before.
    pub fn put(&self, value: T) {
        *lock(&self.0) = Some(value);
    }

    /// Takes the value.
    pub fn take(&self) -> Option<T> {
        lock(&self.0).take()
    }

    /// Whether the last value was taken: time for another.
    pub fn is_empty(&self) -> bool {
        lock(&self.0).is_none()
    }
}

/// Lets others run: in the browser until the page has had its turn (a macrotask; a microtask would not let it paint).
pub async fn breathe() {
    #[cfg(target_arch = "wasm32")]
    {
        let promise = js_sys::Promise::new(&mut |resolve, _| {
            if let Some(window) = web_sys::window() {
                // Fails where the page is being closed: then nothing is left to wait for.
                let _ = window.set_timeout_with_callback(&resolve);
            }
        });
        let _ = wasm_bindgen_futures::JsFuture::from(promise).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn messages_arrive_in_order_and_the_end_is_seen() {
        let (sender, receiver) = channel();
        let other = sender.clone();
        let thread = std::thread::spawn(move || {
            for i in 0..100 {
                if i % 10 == 0 {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other.send(i);
            }
        });
        drop(sender);
        let mut found = Vec::new();
        pollster::block_on(async {
            while let Some(message) = receiver.next().await {
                found.push(message);
            }
        });
        thread.join().unwrap();
        assert_eq!(found, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_is_woken_after_another_sender_has_ended() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(Arc::clone(&count));
        let (sender, receiver) = channel();
        let mut next = std::pin::pin!(receiver.next());
        assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        drop(sender.clone());
        sender.send(7);
        assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert_eq!(pollster::block_on(next), Some(7));
    }

    #[test]
    fn a_slot_keeps_the_latest() {
        let slot = Slot::default();
        assert!(slot.is_empty());
        slot.put(1);
        slot.put(2);
        assert_eq!((slot.take(), slot.take()), (Some(2), None));
    }
}
