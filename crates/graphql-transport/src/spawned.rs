//! Streams that run in their own task, independent of how fast they are read.

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// Runs a stream in a task; its items pass through a channel with a capacity of one.
///
/// hyper polls a body only while the peer reads. A stream that is not polled can hold resources, such as a database
/// connection, in the middle of an item. The task finishes each item it starts and waits only between items. Dropping
/// the returned stream aborts the task.
pub(super) fn spawned<T: Send + 'static>(
    tasks: &TaskTracker,
    mut items: BoxStream<'static, T>,
) -> impl Stream<Item = T> + Send + use<T> {
    let (sender, mut receiver) = mpsc::channel(1);
    let making = AbortOnDropHandle::new(tasks.spawn(async move {
        while let Some(item) = items.next().await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    }));
    stream::poll_fn(move |cx| {
        let _making = &making;
        receiver.poll_recv(cx)
    })
}
