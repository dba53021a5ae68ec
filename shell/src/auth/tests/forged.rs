//! Forged and broken tokens, each refused for its own reason. Each differs from one that is accepted in
//! the one thing that its name says.

mod inside;
mod outside;

use super::*;

/// A token's name, the token, and why it is refused.
type Forged = (String, String, TokenFault);

/// Collects forged tokens.
struct Forge {
    issuer: Issuer,
    /// One without the issuer's keys, but for the RSA key.
    stranger: Issuer,
    tokens: Vec<Forged>,
}

impl Forge {
    fn add(&mut self, name: impl Into<String>, token: impl Into<String>, fault: TokenFault) {
        self.tokens.push((name.into(), token.into(), fault));
    }

    /// A token that is accepted, in its three parts.
    fn good(&self, kind: Kind) -> [String; 3] {
        let token = self.issuer.token(kind, &claims());
        let parts: Vec<&str> = token.split('.').collect();
        [parts[0].into(), parts[1].into(), parts[2].into()]
    }

    /// A rightly signed token with this header, or these claims.
    fn header(&mut self, name: &str, header: impl AsRef<[u8]>, fault: TokenFault) {
        let token = self.issuer.sign(Kind::Rs256, header, claims().to_string());
        self.add(name, token, fault);
    }

    fn claims(&mut self, name: &str, claims: impl AsRef<[u8]>, fault: TokenFault) {
        let header = header(Kind::Rs256).to_string();
        let token = self.issuer.sign(Kind::Rs256, header, claims);
        self.add(name, token, fault);
    }

    fn claim(&mut self, name: &str, claim: &str, value: Value, fault: TokenFault) {
        self.claims(name, with(claim, value).to_string(), fault);
    }
}

/// The text of the claims with another one in front.
fn claims_and(more: &str) -> String {
    claims().to_string().replacen('{', &format!("{{{more},"), 1)
}

fn header_and(more: &str) -> String {
    header(Kind::Rs256)
        .to_string()
        .replacen('{', &format!("{{{more},"), 1)
}

#[test]
fn no_forged_token_is_accepted_and_each_has_its_reason() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut forge = Forge {
        issuer: Issuer::new(SECRET),
        stranger: Issuer::new(b"the secret of a stranger, as long as ours"),
        tokens: Vec::new(),
    };
    let auth = auth_of(&forge.issuer, dir.path());
    for part in [
        outside::form,
        outside::algorithms,
        outside::keys,
        outside::signatures,
        inside::statements,
    ] {
        part(&mut forge);
    }
    // What they were made from is accepted: nothing else is wrong with them.
    for kind in Kind::ALL {
        assert!(
            verify(&auth, &forge.good(kind).join(".")).is_ok(),
            "{kind:?}"
        );
    }
    let mut counted = [0; TokenFault::COUNT];
    let mut wrong = Vec::new();
    for (name, token, fault) in &forge.tokens {
        counted[*fault as usize] += 1;
        println!("{:<14} {name}", fault.label());
        match verify(&auth, token) {
            Err(found) if found == *fault => {}
            found => wrong.push(format!("{name}: {found:?} and not {fault:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(auth.stats().failures, counted);
    let names: std::collections::BTreeSet<_> = forge.tokens.iter().map(|(name, ..)| name).collect();
    assert_eq!(
        names.len(),
        forge.tokens.len(),
        "each has a name of its own"
    );
    println!("{} tokens, none accepted", forge.tokens.len());
    assert!(forge.tokens.len() >= 60);
}
