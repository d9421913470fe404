//! Reads the syntax tree of one file, and the tokens of its macros, into the facts of `source.rs`.
//! Must never judge. Invariant: a path is seen wherever it stands: in a `use`, inline, in a macro or in an attribute.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::source::{Call, Name, Source, Stretch, Word};

/// Reads one file; the error is the parser's, with its line.
pub fn read(path: &str, text: &str) -> Result<Source, (usize, String)> {
    let tree = syn::parse_file(text).map_err(|e| (e.span().start().line, e.to_string()))?;
    let out = Source {
        path: path.to_string(),
        lines: text.lines().count(),
        opening: text.lines().take_while(|line| line.starts_with("//!")).count(),
        ..Source::default()
    };
    let test = path.ends_with("/tests.rs") || path.contains("/tests/") || for_tests(&tree.attrs);
    let mut reader = Reader { module: module_of(path), inside: Vec::new(), test, in_attribute: false, out };
    reader.visit_file(&tree);
    proc_macro2::extra::invalidate_current_thread_spans();
    Ok(reader.out)
}

/// `src/a/b.rs` -> `crate::a::b`, as words.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    let mut words = vec!["crate".to_string()];
    if !matches!(inner, "lib" | "main") {
        words.extend(inner.split('/').map(str::to_string));
    }
    words
}

/// Whether attributes keep an item for tests: `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, ...))]`.
fn for_tests(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| match &attr.meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => list.path.is_ident("cfg") && needs_test(list.tokens.clone()),
        syn::Meta::NameValue(_) => false,
    })
}

/// `test`, or `all(.., test, ..)`. `not(test)` and `any(test, ..)` also hold outside tests.
fn needs_test(tokens: TokenStream) -> bool {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Ident(word) => word == "test",
        TokenTree::Group(group) => {
            let all = at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(word) if word == "all");
            all && needs_test(group.stream())
        }
        _ => false,
    })
}

fn attrs_of(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item;
    match item {
        Item::Const(it) => &it.attrs,
        Item::Enum(it) => &it.attrs,
        Item::ExternCrate(it) => &it.attrs,
        Item::Fn(it) => &it.attrs,
        Item::ForeignMod(it) => &it.attrs,
        Item::Impl(it) => &it.attrs,
        Item::Macro(it) => &it.attrs,
        Item::Mod(it) => &it.attrs,
        Item::Static(it) => &it.attrs,
        Item::Struct(it) => &it.attrs,
        Item::Trait(it) => &it.attrs,
        Item::TraitAlias(it) => &it.attrs,
        Item::Type(it) => &it.attrs,
        Item::Union(it) => &it.attrs,
        Item::Use(it) => &it.attrs,
        _ => &[],
    }
}

struct Reader {
    /// The module being read, with those written inside the file.
    module: Vec<String>,
    /// Modules written inside the file, outermost first.
    inside: Vec<String>,
    test: bool,
    /// Inside an attribute, where text may carry a path.
    in_attribute: bool,
    out: Source,
}

impl Reader {
    fn name(&mut self, words: Vec<String>, span: Span, rooted: bool) -> &mut Name {
        let words = if rooted { words } else { self.resolve(words) };
        let line = span.start().line;
        self.out.names.push(Name { words, line, test: self.test, imported: false, renamed: false, rooted });
        self.out.names.last_mut().expect("just pushed")
    }

    /// `self::x`, `super::x` -> `crate::...::x`. A path that climbs too far is left for the compiler.
    fn resolve(&self, words: Vec<String>) -> Vec<String> {
        let ups = words.iter().take_while(|word| *word == "super").count();
        let selves = usize::from(words.first().is_some_and(|word| word == "self") && words.len() > 1);
        if ups + selves == 0 {
            return words;
        }
        let behind = words.iter().skip(selves).take_while(|word| *word == "super").count();
        let keep = self.module.len().saturating_sub(behind).max(1);
        self.module[..keep].iter().cloned().chain(words.into_iter().skip(selves + behind)).collect()
    }

    fn import(&mut self, tree: &syn::UseTree, head: &[String], rooted: bool) {
        let with = |word: &syn::Ident| head.iter().cloned().chain([plain(word)]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(it) => self.import(&it.tree, &with(&it.ident), rooted),
            syn::UseTree::Group(it) => it.items.iter().for_each(|tree| self.import(tree, head, rooted)),
            syn::UseTree::Name(it) if it.ident == "self" => self.bind(head.to_vec(), it.span(), rooted, None),
            syn::UseTree::Name(it) => self.bind(with(&it.ident), it.span(), rooted, None),
            syn::UseTree::Rename(it) => {
                let words = if it.ident == "self" { head.to_vec() } else { with(&it.ident) };
                self.bind(words, it.span(), rooted, Some(plain(&it.rename)));
            }
            syn::UseTree::Glob(it) => {
                let words = head.iter().cloned().chain(["*".to_string()]).collect();
                self.bind(words, it.span(), rooted, None);
            }
        }
    }

    fn bind(&mut self, words: Vec<String>, span: Span, rooted: bool, rename: Option<String>) {
        let name = self.name(words, span, rooted);
        name.imported = true;
        name.renamed = rename.is_some();
        let own = name.words[0] == "crate" && name.words.len() > 1;
        let bound = rename.or_else(|| name.words.last().cloned());
        if own {
            self.out.bound.extend(bound);
        }
    }

    fn body(&mut self, name: &syn::Ident, block: &syn::Block) {
        let (from, to) = (block.brace_token.span.open().start().line, block.brace_token.span.close().end().line);
        self.out.bodies.push(Stretch { name: plain(name), line: from, lines: to + 1 - from });
    }

    fn call(&mut self, method: &syn::Ident, literal: Option<String>) {
        let (method, line) = (plain(method), method.span().start().line);
        if matches!(method.as_str(), "unwrap" | "unwrap_err" | "expect" | "expect_err") {
            self.out.calls.push(Call { method, literal, line, test: self.test });
        }
    }

    /// Where a module declared in this file lies, without `.rs`.
    fn place_of(&self, module: &syn::Ident) -> String {
        let own = self.out.path.trim_end_matches(".rs");
        let folder = match own.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => own,
        };
        let inner: String = self.inside.iter().map(|word| format!("/{word}")).collect();
        format!("{folder}{inner}/{module}")
    }

    /// Reads the tokens of a macro or attribute, which have no tree: paths, calls, macros and literals are seen.
    fn tokens(&mut self, stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.tokens(group.stream()),
                TokenTree::Literal(literal) => self.literal(syn::Lit::new(literal.clone())),
                TokenTree::Ident(word) => {
                    let (words, after) = path_at(&tokens, at);
                    self.token_word(&tokens, at, after, word, words);
                    at = after;
                    continue;
                }
                TokenTree::Punct(_) => {}
            }
            at += 1;
        }
    }

    /// A word or path in `tokens[at..after]`: a call, a macro or a name.
    fn token_word(&mut self, tokens: &[TokenTree], at: usize, after: usize, word: &syn::Ident, words: Vec<String>) {
        let dotted = at > 0 && is_punct(tokens.get(at - 1), '.');
        let group = |at: usize| match tokens.get(at) {
            Some(TokenTree::Group(group)) => Some(group),
            _ => None,
        };
        if dotted {
            if let Some(group) = group(after).filter(|it| it.delimiter() == Delimiter::Parenthesis) {
                self.call(word, group.stream().into_iter().next().and_then(text_of));
            }
            return;
        }
        if is_punct(tokens.get(after), '!') && group(after + 1).is_some() {
            let (text, line) = (words.last().cloned().unwrap_or_default(), word.span().start().line);
            self.out.macros.push(Word { text, line, test: self.test });
        }
        if words.len() > 1 {
            let behind = at >= 2 && is_punct(tokens.get(at - 1), ':') && is_punct(tokens.get(at - 2), ':');
            let closing = at >= 3 && (is_punct(tokens.get(at - 3), '>') || group(at - 3).is_some());
            self.name(words, word.span(), behind && !closing);
        }
    }

    fn literal(&mut self, literal: syn::Lit) {
        if let syn::Lit::Str(text) = literal {
            self.visit_lit_str(&text);
        }
    }

    fn within<T>(&mut self, test: bool, read: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.test;
        self.test |= test;
        let out = read(self);
        self.test = before;
        out
    }
}

fn plain(word: &syn::Ident) -> String {
    let text = word.to_string();
    text.strip_prefix("r#").map(str::to_string).unwrap_or(text)
}

fn is_punct(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(it)) if it.as_char() == mark)
}

fn text_of(token: TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    let syn::Lit::Str(text) = syn::Lit::new(literal) else { return None };
    Some(text.value())
}

/// The path that begins at `tokens[at]`, and the place after it.
fn path_at(tokens: &[TokenTree], at: usize) -> (Vec<String>, usize) {
    let (mut words, mut at) = (Vec::new(), at);
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        words.push(plain(word));
        let more = is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':');
        if !more || !matches!(tokens.get(at + 3), Some(TokenTree::Ident(_))) {
            return (words, at + 1);
        }
        at += 3;
    }
    (words, at)
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within(for_tests(attrs_of(item)), |it| visit::visit_item(it, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.body(&item.sig.ident, &item.block);
        self.within(for_tests(&item.attrs), |it| visit::visit_impl_item_fn(it, item));
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.body(&item.sig.ident, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(&item.sig.ident, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.out.bound.insert(plain(&item.ident));
        match &item.content {
            Some((brace, _)) if for_tests(&item.attrs) => {
                let (from, to) = (brace.span.open().start().line, brace.span.close().end().line);
                self.out.test_modules.push(Stretch { name: plain(&item.ident), line: from, lines: to + 1 - from });
            }
            None if self.test => self.out.test_files.push(self.place_of(&item.ident)),
            _ => {}
        }
        self.module.push(plain(&item.ident));
        self.inside.push(plain(&item.ident));
        visit::visit_item_mod(self, item);
        self.inside.pop();
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], item.leading_colon.is_some());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.bind(vec![plain(&item.ident)], item.ident.span(), true, None);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path.segments.iter().map(|it| plain(&it.ident)).collect();
        if words.len() > 1 {
            self.name(words, path.span(), path.leading_colon.is_some());
        }
        visit::visit_path(self, path);
    }

    /// `pub(in path)` gives sight, it takes nothing.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let literal = match call.args.first() {
            Some(syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. })) => Some(text.value()),
            _ => None,
        };
        self.call(&call.method, literal);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, it: &'ast syn::Macro) {
        if let Some(last) = it.path.segments.last() {
            let (text, line) = (plain(&last.ident), last.ident.span().start().line);
            self.out.macros.push(Word { text, line, test: self.test });
        }
        visit::visit_macro(self, it);
    }

    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        if !attr.path().is_ident("doc") {
            let before = std::mem::replace(&mut self.in_attribute, true);
            visit::visit_attribute(self, attr);
            self.in_attribute = before;
        }
    }

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.tokens(tokens.clone());
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        let value = text.value();
        // An attribute may carry a path as text: #[serde(with = "crate::x::y")].
        if self.in_attribute && value.contains("::") && !value.contains(' ') {
            self.name(value.split("::").map(str::to_string).collect(), text.span(), false);
        }
        self.out.texts.push(Word { text: value, line: text.span().start().line, test: self.test });
    }
}
