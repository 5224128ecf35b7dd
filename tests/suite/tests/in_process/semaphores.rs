//! Named semaphores, as clients of the scheme see them.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use scheme_host::{Client, Descriptor};
use syscall::error::{EACCES, EBADF, EEXIST, EINVAL, EISDIR, ENODEV, ENOENT, ENOTDIR, EPERM};
use syscall::flag::{
    MODE_DIR, MODE_FILE, MapFlags, O_CREAT, O_DIRECTORY, O_EXCL, O_RDONLY, O_RDWR, O_STAT, O_TRUNC, O_WRONLY,
};

use super::world::{USER, World};

const NEW: usize = O_RDWR | O_CREAT | O_EXCL;
const PAGE: usize = 4096;
const SHARED: MapFlags = MapFlags::MAP_SHARED.union(MapFlags::PROT_READ).union(MapFlags::PROT_WRITE);

impl World {
    fn make(&mut self, client: &mut Client, name: &str, value: u8, mode: usize) -> Result<Descriptor, i32> {
        self.open(client, &format!("new/sem/{value:02X}00000000000000/{name}"), NEW | mode)
    }

    /// The value of a semaphore in the memory that a client maps.
    fn map(&mut self, client: &Client, descriptor: Descriptor) -> &'static AtomicU32 {
        let outcome = self.outcome(client.start_map(descriptor, PAGE, SHARED, 0).unwrap());
        let address = Client::mapped(&outcome, PAGE).unwrap();
        // SAFETY: the daemon keeps the page while the semaphore is open, and the test keeps it open.
        unsafe { &*std::ptr::with_exposed_provenance::<AtomicU32>(address) }
    }

    fn unlink(&mut self, client: &Client, name: &str) -> Result<usize, i32> {
        self.result(client.start_unlink(&format!("sem/{name}"), false))
    }

    fn entries(&mut self, client: &mut Client) -> Vec<String> {
        let directory = self.open(client, "sem", O_DIRECTORY).unwrap();
        let names = self.names(client, directory, 65_536, 0).into_iter().map(|(name, _)| name).collect();
        self.close(client, directory);
        names
    }
}

#[test]
fn all_who_open_a_name_share_a_page_149() {
    let mut world = World::new();
    let (mut first, mut second) = (world.process(), world.process());
    let mine = world.make(&mut first, "x", 7, 0o600).unwrap();
    let yours = world.open(&mut second, "page/sem/x", O_RDWR).unwrap();
    let (here, there) = (world.map(&first, mine), world.map(&second, yours));
    assert_eq!(there.load(Ordering::Relaxed), 7);
    here.fetch_add(2, Ordering::Relaxed);
    assert_eq!(there.load(Ordering::Relaxed), 9);
    assert!(world.text(&mut second, "sem/x").contains("\nvalue 9\n"));
    assert_eq!(world.stat(&first, mine).st_ino, world.stat(&second, yours).st_ino);
}

#[test]
fn the_page_begins_with_the_content_that_was_given() {
    let mut world = World::new();
    let mut client = world.process();
    let descriptor = world.open(&mut client, "new/sem/0102030405/x", NEW | 0o600).unwrap();
    let word = world.map(&client, descriptor);
    assert_eq!(word.load(Ordering::Relaxed).to_ne_bytes(), [1, 2, 3, 4]);
    // SAFETY: the second word of the same page.
    let next = unsafe { &*std::ptr::from_ref(word).add(1) };
    assert_eq!(next.load(Ordering::Relaxed).to_ne_bytes(), [5, 0, 0, 0]);
}

#[test]
fn names_are_made_once_138_140() {
    let mut world = World::new();
    let mut client = world.process();
    assert_eq!(world.open(&mut client, "page/sem/x", O_RDWR), Err(ENOENT));
    assert!(world.make(&mut client, "x", 0, 0o600).is_ok());
    assert_eq!(world.make(&mut client, "x", 1, 0o600), Err(EEXIST));
    let text = world.text(&mut client, "sem/x");
    assert_eq!(text, format!("name x\nvalue 0\nowner {USER}\ngroup {}\nmode 0600\nopens 1\nid 1\n", USER + 1));
}

#[test]
fn how_paths_can_be_opened() {
    let mut world = World::new();
    let mut client = world.process();
    for (path, flags, errno) in [
        ("new/sem/00/x", O_RDWR, ENOENT),
        ("new/sem/00/x", O_STAT, ENOENT),
        ("new/sem/00/x", O_RDWR | O_CREAT, EINVAL),
        ("new/sem/00/x", O_RDONLY | O_CREAT | O_EXCL, EINVAL),
        ("new/sem/0/x", NEW, ENOENT),
        ("new/sem/00", NEW, EEXIST),
        ("new/sem/00", O_RDWR, EISDIR),
        ("sem/x", O_RDONLY, ENOENT),
        ("sem/x", O_STAT, ENOENT),
    ] {
        assert_eq!(world.open(&mut client, path, flags), Err(errno), "{path} {flags:#x}");
    }
    world.make(&mut client, "x", 0, 0o600).unwrap();
    for (path, flags, errno) in [
        ("page/sem/x", O_RDONLY, EACCES),
        ("page/sem/x", O_WRONLY, EACCES),
        ("page/sem/x", O_RDWR | O_TRUNC, EACCES),
        ("page/sem/x", NEW, EEXIST),
        ("page/sem/x", O_RDONLY | O_DIRECTORY, ENOTDIR),
        ("sem/x", O_RDWR, EACCES),
        ("sem/x", O_WRONLY, EACCES),
        ("sem/x/y", O_RDONLY, ENOTDIR),
    ] {
        assert_eq!(world.open(&mut client, path, flags), Err(errno), "{path} {flags:#x}");
    }
    assert_eq!(world.number("sem_created"), 1);
}

#[test]
fn who_may_open_look_and_unlink_145_148_156() {
    let mut world = World::new();
    let (mut owner, mut other, mut root) = (world.process(), world.process_of(USER + 50), world.process_of(0));
    world.make(&mut owner, "private", 3, 0o600).unwrap();
    world.make(&mut owner, "shown", 4, 0o644).unwrap();
    world.make(&mut owner, "shared", 5, 0o666).unwrap();
    world.make(&mut owner, "closed", 6, 0o400).unwrap();
    for (name, opens, shows, owner_opens) in [
        ("private", false, false, true),
        ("shown", false, true, true),
        ("shared", true, true, true),
        ("closed", false, false, false),
    ] {
        let (page, text) = (format!("page/sem/{name}"), format!("sem/{name}"));
        assert_eq!(world.open(&mut other, &page, O_RDWR).err(), (!opens).then_some(EACCES), "{name}");
        assert_eq!(world.open(&mut other, &text, O_RDONLY).err(), (!shows).then_some(EACCES), "{name}");
        assert_eq!(world.open(&mut owner, &page, O_RDWR).err(), (!owner_opens).then_some(EACCES), "{name}");
        assert!(world.open(&mut root, &page, O_RDWR).is_ok());
        assert_eq!(world.unlink(&other, name), Err(EACCES));
    }
    let listed = |text: &str| {
        text.lines().skip(1).filter_map(|line| line.split(' ').next_back()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world.text(&mut other, "list/sem")), ["shown", "shared"]);
    assert_eq!(listed(&world.text(&mut root, "list/sem")), ["private", "shown", "shared", "closed"]);
    assert_eq!(world.entries(&mut other), ["private", "shown", "shared", "closed"], "names are no secret");
    let look = world.open(&mut other, "sem/private", O_STAT).unwrap();
    let stat = world.stat(&other, look);
    assert_eq!((stat.st_mode, stat.st_uid, stat.st_gid), (MODE_FILE | 0o600, USER, USER + 1));
    assert_eq!(world.unlink(&owner, "closed"), Ok(0));
    assert_eq!(world.unlink(&root, "private"), Ok(0));
}

#[test]
fn a_name_goes_at_once_and_the_semaphore_with_its_last_descriptor_155_157() {
    let mut world = World::new();
    let mut client = world.process();
    let old = world.make(&mut client, "x", 1, 0o600).unwrap();
    let copy = client.dup(old).unwrap();
    assert_eq!(world.unlink(&client, "x"), Ok(0));
    assert_eq!(world.unlink(&client, "x"), Err(ENOENT));
    assert_eq!(world.open(&mut client, "page/sem/x", O_RDWR), Err(ENOENT));
    let new = world.make(&mut client, "x", 2, 0o600).unwrap();
    assert_ne!(world.stat(&client, old).st_ino, world.stat(&client, new).st_ino);
    assert_eq!(world.map(&client, old).load(Ordering::Relaxed), 1);
    assert_eq!(world.map(&client, new).load(Ordering::Relaxed), 2);
    assert_eq!((world.number("sem_live"), world.number("sem_named")), (2, 1));
    assert!(world.text(&mut client, "list/sem").contains(" no x\n"));
    world.close(&mut client, old);
    assert_eq!(world.number("sem_live"), 2, "a copy holds it");
    world.close(&mut client, copy);
    assert_eq!(world.number("sem_live"), 1);
    world.close(&mut client, new);
    assert_eq!(world.number("sem_page_bytes"), PAGE as u64, "a name lasts");
    assert_eq!(world.unlink(&client, "x"), Ok(0));
    world.assert_empty();
    assert_eq!(world.number("sem_live"), 0);
}

#[test]
fn a_client_that_is_killed_leaves_names_and_no_handles() {
    let mut world = World::new();
    let mut client = world.process();
    world.make(&mut client, "x", 1, 0o600).unwrap();
    world.make(&mut client, "y", 1, 0o600).unwrap();
    world.unlink(&client, "y").unwrap();
    // Killed before the daemon has seen the request, and before its answer.
    client.start_open("new/sem/00/z", NEW | 0o600).abandon();
    drop(client);
    world.settle();
    let mut probe = world.process();
    assert_eq!(world.entries(&mut probe), ["x", "z"]);
    assert!(world.text(&mut probe, "sem/x").contains("\nopens 0\n"));
    assert_eq!(world.text(&mut probe, "sem/z").lines().nth(1), Some("value 0"), "never half made");
}

#[test]
fn only_the_page_is_mapped_and_only_shared() {
    let mut world = World::new();
    let mut client = world.process();
    let descriptor = world.make(&mut client, "x", 0, 0o600).unwrap();
    let read = MapFlags::PROT_READ;
    for (len, flags, errno) in [
        (PAGE, MapFlags::MAP_PRIVATE | read, EINVAL),
        (PAGE, read, EINVAL),
        (2 * PAGE, SHARED, EINVAL),
        (PAGE, SHARED | MapFlags::PROT_EXEC, EACCES),
    ] {
        let outcome = client.start_map(descriptor, len, flags, 0).unwrap();
        assert_eq!(world.result(outcome), Err(errno), "{flags:?}");
    }
    let text = world.open(&mut client, "sem/x", O_RDONLY).unwrap();
    assert_eq!(world.result(client.start_map(text, PAGE, SHARED, 0).unwrap()), Err(ENODEV));
}

#[test]
fn a_page_is_no_stream() {
    let mut world = World::new();
    let mut client = world.process();
    let descriptor = world.make(&mut client, "x", 0, 0o600).unwrap();
    assert_eq!(world.result(client.start_read(descriptor, 8).unwrap()), Err(EBADF));
    assert_eq!(world.result(client.start_write(descriptor, &[0; 8]).unwrap()), Err(EBADF));
    assert_eq!(world.result(client.start_truncate(descriptor, 0).unwrap()), Err(EINVAL));
    assert_eq!(world.stat(&client, descriptor).st_size, PAGE as u64);
    assert_eq!(world.path(&client, descriptor, 100), "/scheme/eventd/sem/x");
}

#[test]
fn names_are_listed_while_others_come_and_go() {
    let mut world = World::new();
    let mut client = world.process();
    for name in ["c", "%0A", "a", "%2E%2E"] {
        world.make(&mut client, name, 0, 0o600).unwrap();
    }
    assert_eq!(world.entries(&mut client), ["c", "%0A", "a", "%2E%2E"]);
    let directory = world.open(&mut client, "sem", O_DIRECTORY).unwrap();
    assert_eq!(world.stat(&client, directory).st_mode, MODE_DIR | 0o1777);
    let first = world.names(&client, directory, 32, 0);
    assert_eq!(first.len(), 1);
    world.unlink(&client, "c").unwrap();
    world.unlink(&client, "a").unwrap();
    world.make(&mut client, "b", 0, 0o600).unwrap();
    let rest = world.names(&client, directory, 4096, first[0].1);
    assert!(rest.iter().map(|(name, _)| name).eq(["%0A", "%2E%2E", "b"]), "{rest:?}");
}

#[test]
fn what_cannot_be_removed() {
    let mut world = World::new();
    let mut client = world.process();
    world.make(&mut client, "x", 0, 0o600).unwrap();
    for (path, directory, errno) in [
        ("sem", true, EPERM),
        ("sem/x", true, ENOTDIR),
        ("sem/y", false, ENOENT),
        ("page/sem/x", false, EPERM),
        ("new/sem/00/x", false, ENOENT),
    ] {
        assert_eq!(world.result(client.start_unlink(path, directory)), Err(errno), "{path}");
    }
    assert_eq!(world.entries(&mut client), ["x"]);
}

#[test]
fn many_names() {
    let mut world = World::new();
    let mut client = world.process();
    for number in 0..2_000 {
        let descriptor = world.make(&mut client, &format!("n{number}"), 0, 0o600).unwrap();
        world.close(&mut client, descriptor);
    }
    assert_eq!(world.number("sem_named"), 2_000);
    for number in (0..2_000).rev() {
        let name = format!("n{number}");
        assert!(world.open(&mut client, &format!("page/sem/{name}"), O_RDWR).is_ok());
        assert_eq!(world.unlink(&client, &name), Ok(0));
    }
    drop(client);
    world.settle();
    assert_eq!(world.number("sem_live"), 0);
}
