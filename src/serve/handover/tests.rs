use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;

use super::*;

fn offer(listener: &TcpListener) -> Offer {
    Offer {
        key: super::super::sockets::LISTEN,
        place: listener.local_addr().unwrap().to_string(),
        socket: listener.as_fd().try_clone_to_owned().unwrap(),
    }
}

async fn opened(folder: &Path, offers: Vec<Offer>) -> (std::path::PathBuf, Handover) {
    let path = folder.join("handover.sock");
    let listener = Listener::unix("server.handover_socket", &path).unwrap();
    (path, Handover::new(listener, offers, Vec::new()))
}

#[tokio::test]
async fn a_socket_changes_hands_with_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = first.local_addr().unwrap();
    let (path, handover) = opened(folder.path(), vec![offer(&first)]).await;
    // In the queue before, during and after: nobody accepts yet.
    let mut waiting = vec![TcpStream::connect(address).unwrap()];
    let asked = path.clone();
    let taking = tokio::task::spawn_blocking(move || take(&asked).unwrap().unwrap());
    let successor = handover.taken().await;
    let (mut taken, former) = taking.await.unwrap();
    waiting.push(TcpStream::connect(address).unwrap());
    drop(first);
    assert!(!path.exists(), "nobody can ask once more");
    assert_eq!(former.process, u64::from(std::process::id()));
    let (key, place, socket) = taken.pop().unwrap();
    assert_eq!((key.as_str(), place), ("server.listen", address.to_string()));
    let second = TcpListener::from(socket);
    for mut stream in waiting {
        let (mut accepted, _) = second.accept().unwrap();
        accepted.write_all(b"x").unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
    let soon = || Instant::now() + Duration::from_secs(30);
    let closing = std::thread::spawn(move || former.closed_by(soon()).unwrap());
    successor.tell_closed();
    assert!(closing.join().unwrap());
}

#[tokio::test]
async fn who_does_not_take_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let first = TcpListener::bind("127.0.0.1:0").unwrap();
    let (path, handover) = opened(folder.path(), vec![offer(&first)]).await;
    let running = tokio::spawn(handover.taken());
    let asked = path.clone();
    let tried = tokio::task::spawn_blocking(move || {
        // A stranger's words; a process that dies between the sockets and its word.
        UnixStream::connect(&asked).unwrap().write_all(b"GET / HTTP/1.1\n").unwrap();
        let mut stream = UnixStream::connect(&asked).unwrap();
        stream.write_all(HELLO).unwrap();
        assert_eq!(receive(&mut stream).unwrap().1.len(), 1);
        drop(stream);
        take(&asked).unwrap().unwrap()
    });
    let (taken, former) = tried.await.unwrap();
    assert_eq!(taken.len(), 1, "it went on, and gave them to the next one");
    // It ends without a word: its books are free all the same.
    drop(running.await.unwrap());
    assert!(former.closed_by(Instant::now() + Duration::from_secs(30)).unwrap());
}

#[test]
fn nobody_to_ask_is_no_failure_and_a_slow_one_is_not_waited_for_forever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("handover.sock");
    assert!(take(&path).unwrap().is_none());
    drop(UnixListener::bind(&path).unwrap());
    assert!(take(&path).unwrap().is_none(), "a file whose process is gone");
    let (stream, _other) = UnixStream::pair().unwrap();
    let former = Former { stream, process: 1 };
    assert!(!former.closed_by(Instant::now() + Duration::from_millis(20)).unwrap());
}
