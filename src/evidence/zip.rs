//! The container of a bundle: a ZIP file that every system opens, in one form only. Nothing is compressed, the order is the
//! writer's, times and attributes are fixed, so equal content gives equal bytes; and because every header can be made
//! anew from names, sizes and checksums, the reader notices a changed byte anywhere, also where no file is.
//!
//! Written by hand since both halves are about exact bytes, which the crates for ZIP leave to themselves. Layout: APPNOTE 6.3.9
//! §4.3.7 (local header), §4.3.12 (central directory), §4.3.14–16 (end records), §4.5.3 (sizes over 4 GiB).

use std::io::{self, Read, Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::chain::Sum;

const LOCAL: u32 = 0x0403_4b50;
const CENTRAL: u32 = 0x0201_4b50;
const END: u32 = 0x0605_4b50;
const END64: u32 = 0x0606_4b50;
const LOCATOR64: u32 = 0x0706_4b50;
/// Names are UTF-8.
const FLAGS: u16 = 0x0800;
/// 1 January 1980, the first day ZIP knows.
const DATE: u16 = 0x0021;
/// In a field of 32 bits: the value stands in the 64-bit extra field.
const BIG: u64 = 0xffff_ffff;
const END_BYTES: usize = 22;
/// Largest directory that is read, bytes: some hundred thousand files.
const MAX_DIRECTORY: u64 = 64 << 20;
const CHUNK: usize = 256 << 10;

/// One file of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Path with slashes.
    pub name: String,
    /// Bytes.
    pub size: u64,
    crc: u32,
    /// Where its local header begins.
    offset: u64,
}

fn put16(out: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|v| out.extend_from_slice(&v.to_le_bytes()));
}

/// The field of 32 bits for a value that may be larger.
fn small(value: u64) -> u32 {
    u32::try_from(value.min(BIG)).expect("at most 32 bits")
}

/// The extra field with the values that do not fit, in the order the standard says.
fn extra64(values: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    if !values.is_empty() {
        put16(&mut out, &[1, u16::try_from(values.len() * 8).expect("three at most")]);
        put64(&mut out, values);
    }
    out
}

fn needed_version(extra: &[u8]) -> u16 {
    if extra.is_empty() { 20 } else { 45 }
}

impl Item {
    fn name_length(&self) -> u16 {
        u16::try_from(self.name.len()).expect("paths of a bundle are short")
    }

    fn local_header(&self) -> Vec<u8> {
        let extra = if self.size >= BIG { extra64(&[self.size, self.size]) } else { Vec::new() };
        let mut out = Vec::new();
        put32(&mut out, &[LOCAL]);
        put16(&mut out, &[needed_version(&extra), FLAGS, 0, 0, DATE]);
        put32(&mut out, &[self.crc, small(self.size), small(self.size)]);
        put16(&mut out, &[self.name_length(), extra.len() as u16]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        out
    }

    fn directory_entry(&self) -> Vec<u8> {
        let mut big = if self.size >= BIG { vec![self.size, self.size] } else { Vec::new() };
        big.extend((self.offset >= BIG).then_some(self.offset));
        let extra = extra64(&big);
        let mut out = Vec::new();
        put32(&mut out, &[CENTRAL]);
        // Made by: Unix, so that the attributes below are read as its mode.
        put16(&mut out, &[0x0300 | needed_version(&extra), needed_version(&extra), FLAGS, 0, 0, DATE]);
        put32(&mut out, &[self.crc, small(self.size), small(self.size)]);
        put16(&mut out, &[self.name_length(), extra.len() as u16, 0, 0, 0]);
        put32(&mut out, &[0o100_644 << 16, small(self.offset)]);
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(&extra);
        out
    }
}

/// Directory and end records for these files, the directory beginning at `at`.
fn tail(items: &[Item], at: u64) -> Vec<u8> {
    let mut out: Vec<u8> = items.iter().flat_map(Item::directory_entry).collect();
    let (count, size) = (items.len() as u64, out.len() as u64);
    if count >= 0xffff || size >= BIG || at >= BIG {
        let end64 = at + size;
        put32(&mut out, &[END64]);
        put64(&mut out, &[44]);
        put16(&mut out, &[0x0300 | 45, 45]);
        put32(&mut out, &[0, 0]);
        put64(&mut out, &[count, count, size, at]);
        put32(&mut out, &[LOCATOR64, 0]);
        put64(&mut out, &[end64]);
        put32(&mut out, &[1]);
    }
    let count = u16::try_from(count.min(0xffff)).expect("at most 16 bits");
    put32(&mut out, &[END]);
    put16(&mut out, &[0, 0, count, count]);
    put32(&mut out, &[small(size), small(at)]);
    put16(&mut out, &[0]);
    out
}

/// Writes a container from front to back.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    at: u64,
    items: Vec<Item>,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins.
    pub fn new(out: W) -> Self {
        Self { out, at: 0, items: Vec::new() }
    }

    /// Adds a file of exactly `size` bytes; `progress` hears of every chunk. Gives its digest.
    ///
    /// # Errors
    /// When reading or writing fails, or the source has another size.
    pub fn add(
        &mut self,
        name: &str,
        size: u64,
        source: &mut dyn Read,
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<Sum> {
        let mut item = Item { name: name.into(), size, crc: 0, offset: self.at };
        let header = item.local_header();
        self.out.write_all(&header)?;
        let (mut sha, mut crc, mut left) = (Sha256::new(), crc32fast::Hasher::new(), size);
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = source.read(&mut chunk)?;
            if n == 0 {
                break;
            }
            left = left.checked_sub(n as u64).ok_or_else(|| other_size(name))?;
            self.out.write_all(&chunk[..n])?;
            sha.update(&chunk[..n]);
            crc.update(&chunk[..n]);
            progress(n as u64);
        }
        if left > 0 {
            return Err(other_size(name));
        }
        // The checksum is known only now and stands in front.
        item.crc = crc.finalize();
        let end = self.at + header.len() as u64 + size;
        self.out.seek(SeekFrom::Start(self.at))?;
        self.out.write_all(&item.local_header())?;
        self.out.seek(SeekFrom::Start(end))?;
        self.at = end;
        self.items.push(item);
        Ok(Sum(sha.finalize().into()))
    }

    /// Writes the directory and gives back what was written to.
    ///
    /// # Errors
    /// When writing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&tail(&self.items, self.at))?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn other_size(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{name} changed its size while it was copied"))
}

/// A container that is read and held against what the writer would have written.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    items: Vec<Item>,
    /// What is not as the writer writes it.
    faults: Vec<String>,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the directory and checks every byte that is not content of a file.
    ///
    /// # Errors
    /// When it cannot be read or has no directory that could be followed.
    pub fn open(mut file: R) -> io::Result<Self> {
        let length = file.seek(SeekFrom::End(0))?;
        let (at, size) = find_directory(&mut file, length)?;
        let items = parse_directory(&read_at(&mut file, at, size)?)?;
        let mut reader = Self { file, items, faults: Vec::new() };
        reader.compare(at, length)?;
        Ok(reader)
    }

    fn compare(&mut self, directory: u64, length: u64) -> io::Result<()> {
        let mut at = 0;
        for item in &self.items {
            let header = item.local_header();
            let found = read_at(&mut self.file, at, header.len() as u64).unwrap_or_default();
            if found != header || item.offset != at {
                self.faults.push(format!("the container's header of {} was changed", item.name));
            }
            at = at.saturating_add(header.len() as u64).saturating_add(item.size);
        }
        let tail = tail(&self.items, directory);
        let found = read_at(&mut self.file, directory, length - directory)?;
        if at != directory || found != tail {
            self.faults.push("the container's directory was changed, or something was put in".into());
        }
        Ok(())
    }

    /// The files, in their order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// What is wrong with the container itself.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    fn content(&mut self, item: &Item) -> io::Result<impl Read + '_> {
        let start = item.offset.saturating_add(item.local_header().len() as u64);
        self.file.seek(SeekFrom::Start(start))?;
        Ok(self.file.by_ref().take(item.size))
    }

    /// The digest of a file, and whether size and checksum of the directory are right.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn digest(&mut self, item: &Item, progress: &mut dyn FnMut(u64)) -> io::Result<(Sum, bool)> {
        let mut content = self.content(item)?;
        let (mut sha, mut crc, mut size) = (Sha256::new(), crc32fast::Hasher::new(), 0);
        let mut chunk = vec![0; CHUNK];
        loop {
            let n = content.read(&mut chunk)?;
            if n == 0 {
                break;
            }
            sha.update(&chunk[..n]);
            crc.update(&chunk[..n]);
            size += n as u64;
            progress(n as u64);
        }
        Ok((Sum(sha.finalize().into()), size == item.size && crc.finalize() == item.crc))
    }

    /// A file of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be read or is larger.
    pub fn read(&mut self, item: &Item, limit: u64) -> io::Result<Vec<u8>> {
        if item.size > limit {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} is larger than {limit} bytes", item.name),
            ));
        }
        let mut out = Vec::new();
        self.content(item)?.read_to_end(&mut out)?;
        Ok(out)
    }
}

fn no_container(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn read_at(file: &mut (impl Read + Seek), at: u64, size: u64) -> io::Result<Vec<u8>> {
    let size = usize::try_from(size).map_err(|_| no_container("a part is too large to be read"))?;
    file.seek(SeekFrom::Start(at))?;
    let mut out = vec![0; size];
    file.read_exact(&mut out)?;
    Ok(out)
}

/// Where the directory is and how long.
fn find_directory(file: &mut (impl Read + Seek), length: u64) -> io::Result<(u64, u64)> {
    let bad = || no_container("this is no bundle, or its end is cut off or changed");
    let end_at = length.checked_sub(END_BYTES as u64).ok_or_else(bad)?;
    let end = read_at(file, end_at, END_BYTES as u64)?;
    if u32_at(&end, 0) != Some(END) {
        return Err(bad());
    }
    let (mut size, mut at) =
        (u64::from(u32_at(&end, 12).ok_or_else(bad)?), u64::from(u32_at(&end, 16).ok_or_else(bad)?));
    // Locator (20 bytes) and record (56 bytes) stand right in front, if they are needed.
    if let Some(record) = end_at.checked_sub(76).and_then(|r| read_at(file, r, 56).ok())
        && u32_at(&record, 0) == Some(END64)
    {
        size = u64_at(&record, 40).ok_or_else(bad)?;
        at = u64_at(&record, 48).ok_or_else(bad)?;
    }
    let inside = at.checked_add(size).is_some_and(|end| end <= length);
    if !inside || size > MAX_DIRECTORY { Err(bad()) } else { Ok((at, size)) }
}

fn parse_directory(bytes: &[u8]) -> io::Result<Vec<Item>> {
    let bad = || no_container("the container's directory is damaged");
    let (mut items, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (item, length) = parse_entry(rest).ok_or_else(bad)?;
        items.push(item);
        rest = &rest[length..];
    }
    Ok(items)
}

fn parse_entry(bytes: &[u8]) -> Option<(Item, usize)> {
    if u32_at(bytes, 0)? != CENTRAL {
        return None;
    }
    let (name, extra) = (usize::from(u16_at(bytes, 28)?), usize::from(u16_at(bytes, 30)?));
    let text = std::str::from_utf8(bytes.get(46..46 + name)?).ok()?;
    let mut big = bytes.get(46 + name..46 + name + extra)?.get(4..).unwrap_or_default();
    let (mut size, mut offset) = (u64::from(u32_at(bytes, 24)?), u64::from(u32_at(bytes, 42)?));
    if size == BIG {
        size = u64_at(big, 0)?;
        big = big.get(16..)?;
    }
    if offset == BIG {
        offset = u64_at(big, 0)?;
    }
    Some((Item { name: text.into(), size, crc: u32_at(bytes, 16)?, offset }, 46 + name + extra))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn container(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            let sum = writer.add(name, bytes.len() as u64, &mut &bytes[..], &mut |_| {}).unwrap();
            assert_eq!(sum, Sum::of(bytes));
        }
        writer.finish().unwrap().into_inner()
    }

    /// Everything the reader can find wrong.
    fn faults(bytes: &[u8], sums: &[Sum]) -> Vec<String> {
        let mut reader = match Reader::open(Cursor::new(bytes)) {
            Ok(reader) => reader,
            Err(e) => return vec![e.to_string()],
        };
        let mut out = reader.faults().to_vec();
        for (i, item) in reader.items().to_vec().iter().enumerate() {
            let (sum, right) = reader.digest(item, &mut |_| {}).unwrap();
            if !right || sums.get(i) != Some(&sum) {
                out.push(item.name.clone());
            }
        }
        out
    }

    #[test]
    fn every_byte_counts_and_equal_content_gives_equal_bytes() {
        let files: [(&str, &[u8]); 3] = [("a.txt", b"hello"), ("thư mục/b.bin", &[0, 1, 2]), ("empty", b"")];
        let sums: Vec<Sum> = files.iter().map(|f| Sum::of(f.1)).collect();
        let good = container(&files);
        assert_eq!(good, container(&files));
        assert!(faults(&good, &sums).is_empty());
        for at in 0..good.len() {
            for bit in [1, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                assert!(!faults(&bad, &sums).is_empty(), "byte {at} of {} was changed unseen", good.len());
            }
            assert!(!faults(&good[..at], &sums).is_empty(), "cut at {at} unseen");
        }
        for extra in [[good.as_slice(), b"x"].concat(), [b"x".as_slice(), &good].concat()] {
            assert!(!faults(&extra, &sums).is_empty());
        }
    }

    #[test]
    fn what_is_over_4_gib_is_written_in_64_bits_and_read_back() {
        let item = Item { name: "x".into(), size: BIG + 5, crc: 7, offset: BIG + 9 };
        let (back, length) = parse_entry(&item.directory_entry()).unwrap();
        assert_eq!((back, length), (item.clone(), item.directory_entry().len()));
        assert_eq!(item.local_header().len(), 30 + 1 + 20);
        let far = Item { size: 3, ..item };
        assert_eq!(parse_entry(&far.directory_entry()).unwrap().0, far);
        assert_eq!(tail(&[], BIG).len(), END_BYTES + 56 + 20);
    }

    #[test]
    fn other_tools_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.zip");
        std::fs::write(&path, container(&[("a.txt", b"hello"), ("f/b", b"x")])).unwrap();
        let read = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(z.namelist(), z.read('a.txt'))";
        let Ok(done) = std::process::Command::new("python3").args(["-c", read]).arg(&path).output() else {
            // No interpreter here: `evidence_tools` tries other readers.
            return;
        };
        assert_eq!(String::from_utf8_lossy(&done.stdout), "['a.txt', 'f/b'] b'hello'\n", "{done:?}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = faults(&bytes, &[]);
            let _ = faults(&[bytes.as_slice(), &container(&[("a", b"b")])].concat(), &[]);
        }
    }
}
