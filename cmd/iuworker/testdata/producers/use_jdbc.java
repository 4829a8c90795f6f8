import java.sql.*;
import java.util.UUID;

class Main {
    // SAMPLE

    public static void main(String[] args) throws SQLException {
        var env = System.getenv();
        var url = "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        try (var db = DriverManager.getConnection(url, env.get("PGUSER"), null)) {
            System.out.println(placeOrder(db, UUID.fromString(args[0])));
        }
    }
}
