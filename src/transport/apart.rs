//! Work that goes on while its reader does not read.

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// The same items, made by a task of their own.
///
/// hyper asks a body for more only while its peer takes what it was sent. A stream that is not asked keeps what it was
/// about to use, a database connection for example. The task finishes each item that it began and waits only between
/// two of them. It is aborted when what is returned is dropped.
pub(super) fn apart<T: Send + 'static>(
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
