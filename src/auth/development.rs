//! Development mode: the caller is whoever the metadata says, and nobody proves anything.

use http::{HeaderMap, HeaderValue};

use super::{Caller, Privilege, Privileges, Refusal};

const USER: &str = "holdpoint-user";
const ORG: &str = "holdpoint-org";
const GROUPS: &str = "holdpoint-groups";
const PRIVILEGES: &str = "holdpoint-privileges";
const DEFAULT: &str = "dev";
const CHARACTERS_MAX: usize = 64;

/// Reads the caller from `holdpoint-user`, `holdpoint-org` and `holdpoint-groups` (separated by commas). Without them
/// it is `dev` of `dev`, in no group. The caller may do everything, or, to see what somebody sees who may not, what is in
/// `holdpoint-privileges` (separated by commas).
///
/// # Errors
/// When a value is not 1 to 64 letters, digits or `-_.:@`, a key that stands for one value has several, or a privilege is
/// none.
pub fn caller(headers: &HeaderMap) -> Result<Caller, Refusal> {
    let user = single(headers, USER)?;
    Ok(Caller {
        name: user.to_owned(),
        user: user.to_owned(),
        org: single(headers, ORG)?.to_owned(),
        groups: list(headers, GROUPS)?,
        privileges: privileges(headers)?,
        expires: None,
    })
}

fn single<'a>(headers: &'a HeaderMap, key: &'static str) -> Result<&'a str, Refusal> {
    let mut values = headers.get_all(key).iter();
    let Some(value) = values.next() else { return Ok(DEFAULT) };
    if values.next().is_some() {
        return Err(Refusal::Metadata { key, problem: "must be given once" });
    }
    text(key, value).and_then(|text| identifier(key, text))
}

/// Metadata given several times means the same as its values joined by commas.
fn list(headers: &HeaderMap, key: &'static str) -> Result<Vec<String>, Refusal> {
    let mut items = Vec::new();
    for value in headers.get_all(key) {
        let list = text(key, value)?;
        if list.trim().is_empty() {
            continue;
        }
        for item in list.split(',') {
            items.push(identifier(key, item.trim())?.to_owned());
        }
    }
    Ok(items)
}

fn privileges(headers: &HeaderMap) -> Result<Privileges, Refusal> {
    if !headers.contains_key(PRIVILEGES) {
        return Ok(Privileges::All);
    }
    let names = list(headers, PRIVILEGES)?;
    let found = names.iter().map(|name| Privilege::named(name)).collect::<Option<_>>();
    found
        .map(Privileges::Only)
        .ok_or(Refusal::Metadata { key: PRIVILEGES, problem: "must be names of privileges" })
}

fn text<'a>(key: &'static str, value: &'a HeaderValue) -> Result<&'a str, Refusal> {
    value.to_str().map_err(|_| Refusal::Metadata { key, problem: "must be ASCII" })
}

fn identifier<'a>(key: &'static str, text: &'a str) -> Result<&'a str, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
    if (1..=CHARACTERS_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(Refusal::Metadata { key, problem: "must be 1 to 64 letters, digits or -_.:@" })
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_metadata_makes_the_caller() {
        let long = "x".repeat(65);
        let longest = "x".repeat(64);
        let rows: &[&[(&'static str, &str)]] = &[
            &[],
            &[(USER, "a.b-c_d:e@f"), (ORG, "Org-1"), (GROUPS, "one, two,three")],
            &[(GROUPS, "one"), (GROUPS, "two")],
            &[(GROUPS, "")],
            &[(GROUPS, "one,,two")],
            &[(GROUPS, "one two")],
            &[(USER, "")],
            &[(USER, "a b")],
            &[(USER, "é")],
            &[(USER, &long)],
            &[(USER, "one"), (USER, "two")],
            &[(ORG, "a\tb")],
            &[(ORG, "a/b")],
            &[(PRIVILEGES, "jobRead, jobExecute")],
            &[(PRIVILEGES, "")],
            &[(PRIVILEGES, "jobRead,fly")],
        ];
        let mut table = String::new();
        for row in rows {
            let mut headers = HeaderMap::new();
            for (key, value) in *row {
                headers.append(*key, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            let outcome = match caller(&headers) {
                Ok(Caller { user, name, org, groups, privileges: Privileges::All, .. }) => {
                    format!("{user} ({name}) of {org} in {groups:?}")
                }
                Ok(Caller { user, privileges: Privileges::Only(privileges), .. }) => {
                    format!("{user} may {privileges:?}")
                }
                Err(refusal) => format!("! {refusal}"),
            };
            table.push_str(&outcome);
            table.push('\n');
        }
        expect![[r#"
            dev (dev) of dev in []
            a.b-c_d:e@f (a.b-c_d:e@f) of Org-1 in ["one", "two", "three"]
            dev (dev) of dev in ["one", "two"]
            dev (dev) of dev in []
            ! holdpoint-groups must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-groups must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-user must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-user must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-user must be ASCII
            ! holdpoint-user must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-user must be given once
            ! holdpoint-org must be 1 to 64 letters, digits or -_.:@
            ! holdpoint-org must be 1 to 64 letters, digits or -_.:@
            dev may {JobRead, JobExecute}
            dev may {}
            ! holdpoint-privileges must be names of privileges
        "#]]
        .assert_eq(&table);

        let headers = HeaderMap::from_iter([(ORG.parse().unwrap(), longest.parse().unwrap())]);
        assert_eq!(caller(&headers).map(|caller| caller.org), Ok(longest));
    }
}
