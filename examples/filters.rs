//! Filters: conditions on payloads, counts, groups, deletes. `cargo run --release --example filters`.
#![allow(clippy::print_stdout, missing_docs)]

use nearness::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let database = Database::open(folder.path())?;
    let films = CollectionName::new("films")?;
    database.create_collection(&CollectionSpec::vectors(films.clone(), 2).metric(Metric::L2))?;

    // Vectors from your model; here with two components: sadness and speed.
    let film = |id: &str, mood: [f32; 2], director: &str, year: i64, genres: &[&str]| -> Result<Item, Error> {
        let item = Item::vector(PointId::new(id)?, mood).field("director", director).field("year", year);
        Ok(item.field("genres", genres.to_vec()))
    };
    let items = vec![
        film("Metropolis", [0.5, 0.6], "Lang", 1927, &["drama", "science fiction"])?,
        film("M", [0.9, 0.4], "Lang", 1931, &["crime"])?,
        film("City Lights", [0.4, 0.5], "Chaplin", 1931, &["comedy", "romance"])?,
        film("Modern Times", [0.2, 0.8], "Chaplin", 1936, &["comedy"])?,
        film("Vertigo", [0.7, 0.3], "Hitchcock", 1958, &["crime", "romance"])?,
    ];
    database.upsert(&films, items)?;

    let slow_and_sad = [Query::Vector(vec![0.8, 0.3])];
    let show = |what: &str, params: SearchParams| -> Result<Vec<String>, Error> {
        let answer = database.search(&films, &slow_and_sad, &params)?.remove(0);
        let ids: Vec<String> = answer.hits.iter().map(|hit| hit.point.id.to_string()).collect();
        println!("{what}: {ids:?}");
        Ok(ids)
    };

    // A list matches if one of its values matches.
    let romance = Filter::equals("genres", "romance");
    assert_eq!(show("romance", SearchParams::new(3).filter(romance.clone()))?, ["Vertigo", "City Lights"]);

    let thirties = Filter::range("year", Range { gte: Some(1930.into()), lt: Some(1940.into()), ..Range::default() });
    let serious = Filter::And(vec![thirties.clone(), Filter::not(Filter::equals("genres", "comedy"))]);
    assert_eq!(show("serious films of the thirties", SearchParams::new(3).filter(serious))?, ["M"]);

    // The nearest film of each director.
    assert_eq!(show("one of each director", SearchParams::new(3).group_by("director"))?.len(), 3);

    // Filters count and delete, too. A misspelt field is refused, since under `not` it would match every point.
    println!("{} films are of the thirties", database.count(&films, Some(&thirties))?);
    let misspelt = Filter::not(Filter::exists("directer"));
    let Err(refused) = database.delete_matching(&films, &misspelt, false) else { return Err("deleted".into()) };
    println!("refused: {refused}");
    let deleted = database.delete_matching(&films, &thirties, false)?;
    println!("{} deleted, {} left", deleted.deleted, database.count(&films, None)?);
    assert_eq!(database.count(&films, None)?, 2);
    Ok(())
}
