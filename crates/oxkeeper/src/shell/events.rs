//! Prints events as they come: between the lines the user types, or in the order of a script. Source:
//! `ZooKeeperMain.MyWatcher`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oxkeeper_client::handle::{Change, Event};
use parking_lot::Mutex;
use rustyline::ExternalPrinter;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::report::Format;
use crate::out::{flush, put};

/// Prints above the line that is being typed.
pub(super) type LinePrinter = Arc<Mutex<Option<Box<dyn ExternalPrinter + Send>>>>;

/// Prints events.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) format: Format,
    /// Leaves out the first connection, and the end of the session if a command asked for it.
    pub(super) quiet: bool,
    /// Leaves out every event of the session: only watches are printed.
    pub(super) watches_only: bool,
    /// Whether events are printed at all (`printwatches`).
    pub(super) on: Arc<AtomicBool>,
    /// Whether a command is under way: events then wait for its end, so that they never interrupt its output.
    pub(super) busy: Arc<AtomicBool>,
    pub(super) line_printer: LinePrinter,
}

impl Teller {
    /// Prints events until there are no more, and answers each fence once all events before it are printed.
    pub(super) async fn run(self, mut events: mpsc::Receiver<Event>, mut fences: mpsc::Receiver<oneshot::Sender<()>>) {
        let (mut open, mut connected, mut waiting) = (true, false, Vec::new());
        loop {
            tokio::select! {
                biased;
                event = events.recv(), if open => match event {
                    Some(event) => {
                        let expected = match event {
                            Event::Session(Change::SyncConnected | Change::ConnectedReadOnly) => {
                                !std::mem::replace(&mut connected, true)
                            }
                            Event::Session(Change::Closed) => true,
                            Event::Session(_) | Event::Watch(_) | Event::Removed(..) => false,
                        };
                        let of_session = matches!(event, Event::Session(_));
                        // A command may wait for an event of the session, which is therefore printed at once.
                        let at_once = of_session || !self.busy.load(Ordering::Relaxed);
                        let left_out = expected && self.quiet || of_session && self.watches_only;
                        if !left_out && self.on.load(Ordering::Relaxed) {
                            waiting.push(event);
                        }
                        if at_once {
                            self.tell_all(&mut waiting);
                        }
                    }
                    None => open = false,
                },
                fence = fences.recv() => match fence {
                    Some(passed) => {
                        self.tell_all(&mut waiting);
                        let _ = passed.send(());
                    }
                    None => return,
                },
            }
        }
    }

    fn tell_all(&self, events: &mut Vec<Event>) {
        events.drain(..).for_each(|event| self.tell(&event));
    }

    fn tell(&self, event: &Event) {
        let text = match self.format {
            Format::Text => as_text(event),
            Format::Json => as_json(event),
        };
        if let Some(printer) = &mut *self.line_printer.lock()
            && printer.print(text.clone()).is_ok()
        {
            return;
        }
        put(text);
        flush();
    }
}

fn as_text(event: &Event) -> String {
    let (state, kind, zxid) = (event.state_name(), event.type_name(), event.zxid().0);
    let path = event.path().unwrap_or("null");
    format!("\nWATCHER::\n\nWatchedEvent state:{state} type:{kind} path:{path} zxid: {zxid}\n")
}

fn as_json(event: &Event) -> String {
    let zxid = Some(event.zxid().0).filter(|zxid| *zxid >= 0).map(|zxid| format!("0x{zxid:x}"));
    let event = json!({"state": event.state_name(), "type": event.type_name(), "path": event.path(), "zxid": zxid});
    format!("{}\n", json!({ "event": event }))
}

#[cfg(test)]
mod tests {
    use oxkeeper_client::WatchEvent;
    use oxkeeper_proto::Zxid;
    use oxkeeper_proto::op::{EventType, WatcherType};

    use super::*;

    #[test]
    fn as_zookeeper_prints_them() {
        let connected = Event::Session(Change::SyncConnected);
        assert_eq!(
            as_text(&connected),
            "\nWATCHER::\n\nWatchedEvent state:SyncConnected type:None path:null zxid: -1\n"
        );
        let removed = Event::Removed(WatcherType::Data, "/a".to_owned());
        assert!(as_text(&removed).contains("state:SyncConnected type:DataWatchRemoved path:/a zxid: -1"));
    }

    #[test]
    fn for_programs() {
        let fired = WatchEvent { event: EventType::NodeCreated, path: "/a".to_owned(), zxid: Zxid(17) };
        let expected =
            r#"{"event":{"state":"SyncConnected","type":"NodeCreated","path":"/a","zxid":"0x11"}}"#.to_owned() + "\n";
        assert_eq!(as_json(&Event::Watch(fired)), expected);
    }
}
