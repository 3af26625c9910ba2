use wit_parser::{Function, Handle, Resolve, Type, TypeDefKind};

/// A component's types and the contract's.
#[derive(Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) theirs: &'a Resolve,
    pub(super) ours: &'a Resolve,
}

/// Where two types differ, and how.
type Compared = Result<(), String>;

impl Sides<'_> {
    /// Compares two functions by the names and types of their parameters and their result.
    pub(super) fn function(&self, theirs: &Function, ours: &Function) -> Compared {
        let names = |function: &Function| {
            let names: Vec<String> = function.params.iter().map(|param| format!("`{}`", param.name)).collect();
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        };
        if names(theirs) != names(ours) {
            return Err(format!("its parameters are {}, the contract has {}", names(theirs), names(ours)));
        }
        for (their, our) in theirs.params.iter().zip(&ours.params) {
            self.ty(their.ty, our.ty, &format!("parameter `{}`", our.name))?;
        }
        self.optional(theirs.result, ours.result, "the result")
    }

    fn ty(&self, theirs: Type, ours: Type, at: &str) -> Compared {
        let (theirs, ours) = (resolved(self.theirs, theirs), resolved(self.ours, ours));
        let different = || {
            let (theirs, ours) = (name(self.theirs, theirs), name(self.ours, ours));
            Err(format!("{at} is `{theirs}`, the contract has `{ours}`"))
        };
        let (Type::Id(their), Type::Id(our)) = (theirs, ours) else {
            return if theirs == ours { Ok(()) } else { different() };
        };
        let (Some(their), Some(our)) = (self.theirs.types.get(their), self.ours.types.get(our)) else {
            return different();
        };
        use TypeDefKind as Kind;
        match (&their.kind, &our.kind) {
            (Kind::List(a), Kind::List(b)) => self.ty(*a, *b, &format!("an element of {at}")),
            (Kind::Option(a), Kind::Option(b)) => self.ty(*a, *b, &format!("the option of {at}")),
            (Kind::Result(a), Kind::Result(b)) => {
                self.optional(a.ok, b.ok, &format!("ok of {at}"))?;
                self.optional(a.err, b.err, &format!("the error of {at}"))
            }
            (Kind::Tuple(a), Kind::Tuple(b)) if a.types.len() == b.types.len() => {
                let mut pairs = a.types.iter().zip(&b.types).enumerate();
                pairs.try_for_each(|(index, (a, b))| self.ty(*a, *b, &format!("part {index} of {at}")))
            }
            (Kind::Record(a), Kind::Record(b)) => {
                let theirs = a.fields.iter().map(|field| (field.name.as_str(), Some(field.ty)));
                let ours = b.fields.iter().map(|field| (field.name.as_str(), Some(field.ty)));
                self.members("field", theirs, ours, at)
            }
            (Kind::Variant(a), Kind::Variant(b)) => {
                let theirs = a.cases.iter().map(|case| (case.name.as_str(), case.ty));
                let ours = b.cases.iter().map(|case| (case.name.as_str(), case.ty));
                self.members("case", theirs, ours, at)
            }
            (Kind::Enum(a), Kind::Enum(b)) => {
                let theirs = a.cases.iter().map(|case| (case.name.as_str(), None));
                self.members("case", theirs, b.cases.iter().map(|case| (case.name.as_str(), None)), at)
            }
            _ => different(),
        }
    }

    fn optional(&self, theirs: Option<Type>, ours: Option<Type>, at: &str) -> Compared {
        match (theirs, ours) {
            (None, None) => Ok(()),
            (Some(theirs), Some(ours)) => self.ty(theirs, ours, at),
            (Some(theirs), None) => Err(format!("{at} is `{}`, the contract has none", name(self.theirs, theirs))),
            (None, Some(ours)) => Err(format!("{at} is missing, the contract has `{}`", name(self.ours, ours))),
        }
    }

    /// Compares fields or cases, which must have the same names in the same order.
    fn members<'n>(
        &self,
        what: &str,
        theirs: impl Iterator<Item = (&'n str, Option<Type>)>,
        ours: impl Iterator<Item = (&'n str, Option<Type>)>,
        at: &str,
    ) -> Compared {
        let (mut theirs, mut ours) = (theirs, ours);
        loop {
            match (theirs.next(), ours.next()) {
                (None, None) => return Ok(()),
                (Some((their, theirs)), Some((our, ours))) if their == our => {
                    self.optional(theirs, ours, &format!("{what} `{our}` of {at}"))?;
                }
                (Some((their, _)), Some((our, _))) => {
                    return Err(format!("{at} has the {what} `{their}` where the contract has `{our}`"));
                }
                (Some((their, _)), None) => {
                    return Err(format!("{at} has a {what} `{their}` that the contract does not have"));
                }
                (None, Some((our, _))) => return Err(format!("{at} lacks the {what} `{our}`")),
            }
        }
    }
}

/// What a type stands for, aliases followed.
fn resolved(resolve: &Resolve, ty: Type) -> Type {
    let mut ty = ty;
    while let Type::Id(id) = ty {
        match resolve.types.get(id).map(|definition| &definition.kind) {
            Some(TypeDefKind::Type(target)) => ty = *target,
            _ => break,
        }
    }
    ty
}

/// A type as WIT writes it, named types by their name.
fn name(resolve: &Resolve, ty: Type) -> String {
    let id = match resolved(resolve, ty) {
        Type::Id(id) => id,
        Type::ErrorContext => return "error-context".to_owned(),
        primitive => return format!("{primitive:?}").to_lowercase(),
    };
    let Some(definition) = resolve.types.get(id) else {
        return "?".to_owned();
    };
    let optional = |ty: Option<Type>| ty.map_or_else(|| "_".to_owned(), |ty| name(resolve, ty));
    match &definition.kind {
        TypeDefKind::List(of) => format!("list<{}>", name(resolve, *of)),
        TypeDefKind::Option(of) => format!("option<{}>", name(resolve, *of)),
        TypeDefKind::Result(result) => format!("result<{}, {}>", optional(result.ok), optional(result.err)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<String> = tuple.types.iter().map(|ty| name(resolve, *ty)).collect();
            format!("tuple<{}>", types.join(", "))
        }
        TypeDefKind::Handle(Handle::Own(of) | Handle::Borrow(of)) => name(resolve, Type::Id(*of)),
        kind => definition.name.clone().unwrap_or_else(|| kind.as_str().to_owned()),
    }
}
