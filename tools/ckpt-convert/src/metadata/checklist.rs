//! `checklist.chk`: MD5 digests of Meta's files, in the form of `md5sum`.

/// The file, from names and digests in hexadecimal, sorted by name.
pub(crate) fn checklist(files: &[(String, String)]) -> Vec<u8> {
    let mut files: Vec<&(String, String)> = files.iter().collect();
    files.sort_unstable();
    files.into_iter().flat_map(|(name, digest)| format!("{digest}  {name}\n").into_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_md5sum() {
        let digest = "d41d8cd98f00b204e9800998ecf8427e".to_owned();
        let files = [("params.json".to_owned(), digest.clone()), ("consolidated.00.pth".to_owned(), digest.clone())];
        let expected = format!("{digest}  consolidated.00.pth\n{digest}  params.json\n");
        assert_eq!(checklist(&files), expected.as_bytes());
    }
}
