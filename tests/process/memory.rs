//! How much the sidecar's process holds while large bodies pass through it in both directions. Stands with its own package,
//! because only there does cargo say where the program is.

/// Seconds among the other tests, a minute or two with `TOLLGATE_ENDURANCE=full`; the check is the same.
mod endurance {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use anyhow::Context;
    use serde_json::{Value, json};

    const MIB: u64 = 1 << 20;
    /// What the process may hold at most, its program included.
    const MOST_KIB: u64 = 40 * 1024;
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Ends with the test.
    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn gigabytes_pass_both_ways_and_little_is_held() -> anyhow::Result<()> {
        let full = std::env::var("TOLLGATE_ENDURANCE").is_ok_and(|value| value == "full");
        let size = if full { 2_048 * MIB } else { 256 * MIB };
        let app = TcpListener::bind("127.0.0.1:0")?;
        let port = app.local_addr()?.port();
        thread::spawn(move || app.incoming().flatten().for_each(|stream| drop(thread::spawn(|| serve(stream)))));

        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.json");
        std::fs::write(&file, config(port).to_string())?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate-sidecar"));
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--no-access-log", "--config"]).arg(&file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut sidecar = Process(command.spawn()?);
        let mut log = BufReader::new(sidecar.0.stderr.take().context("a log")?);
        let mut line = String::new();
        while !line.contains("\"serving\"") {
            line.clear();
            assert!(log.read_line(&mut line)? > 0, "the log ended before it served");
        }
        let line: Value = serde_json::from_str(&line)?;
        let address = line["proxy"].as_str().context("an address")?.to_owned();

        let began = Instant::now();
        assert_eq!(upload(&address, size)?, size);
        let up = began.elapsed();
        assert_eq!(download(&address, size)?, size);
        let down = began.elapsed() - up;
        let peak = peak_kib(sidecar.0.id())?;
        eprintln!("{} MiB up in {up:?}, down in {down:?}; the process held {peak} KiB at most", size / MIB);
        assert!(peak < MOST_KIB, "{peak} KiB");
        Ok(())
    }

    fn config(app: u16) -> Value {
        json!({
            "namespace": "shop", "name": "items", "defaultAccess": "Authenticated", "logLevel": "info",
            "issuers": [{
                "name": "okta", "url": "https://127.0.0.1:1/oauth2/default", "audiences": ["api://default"],
                "validation": "Local", "introspection": {"cacheMillis": 0}, "clockSkewSeconds": 0,
            }],
            "routes": [{"name": "all", "path": {"prefix": "/"}, "access": "Public"}],
            "upstream": {"port": app},
        })
    }

    /// Takes what it is sent and says how much, or sends as much as it is asked for.
    fn serve(stream: TcpStream) -> anyhow::Result<()> {
        let mut reads = BufReader::new(stream.try_clone()?);
        let mut stream = stream;
        while let Some((start, length)) = head(&mut reads)? {
            let taken = std::io::copy(&mut (&mut reads).take(length), &mut std::io::sink())?;
            let asked: u64 = start.split(['/', ' ']).nth(2).and_then(|size| size.parse().ok()).unwrap_or(0);
            let text = taken.to_string();
            let length = if asked > 0 { asked } else { text.len() as u64 };
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
            if asked > 0 {
                std::io::copy(&mut std::io::repeat(b'x').take(asked), &mut stream)?;
            } else {
                stream.write_all(text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// The first line and the body's length; none at the end of the connection.
    fn head(reads: &mut impl BufRead) -> anyhow::Result<Option<(String, u64)>> {
        let (mut start, mut length) = (String::new(), 0);
        if reads.read_line(&mut start)? == 0 {
            return Ok(None);
        }
        loop {
            let mut line = String::new();
            reads.read_line(&mut line)?;
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                Some(_) => {}
                None => return Ok(Some((start, length))),
            }
        }
    }

    fn connect(address: &str) -> anyhow::Result<TcpStream> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends so much; returns how much the app took.
    fn upload(address: &str, size: u64) -> anyhow::Result<u64> {
        let mut stream = connect(address)?;
        write!(stream, "PUT /up HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n")?;
        std::io::copy(&mut std::io::repeat(b'x').take(size), &mut stream)?;
        let mut reads = BufReader::new(stream);
        let (start, length) = head(&mut reads)?.context("an answer")?;
        assert!(start.starts_with("HTTP/1.1 200"), "{start}");
        let mut text = String::new();
        reads.take(length).read_to_string(&mut text)?;
        Ok(text.parse()?)
    }

    /// Asks for so much; returns how much came.
    fn download(address: &str, size: u64) -> anyhow::Result<u64> {
        let mut stream = connect(address)?;
        write!(stream, "GET /{size} HTTP/1.1\r\nhost: a\r\n\r\n")?;
        let mut reads = BufReader::new(stream);
        let (start, length) = head(&mut reads)?.context("an answer")?;
        assert!(start.starts_with("HTTP/1.1 200"), "{start}");
        Ok(std::io::copy(&mut reads.take(length), &mut std::io::sink())?)
    }

    /// The most that the process has held in memory.
    fn peak_kib(process: u32) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a peak")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}
