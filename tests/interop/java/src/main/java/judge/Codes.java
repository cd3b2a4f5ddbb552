package judge;

/** Response codes; their Java class moved between releases. */
public final class Codes {
    public static final int MESSAGE_ILLEGAL = 13;
    public static final int TOPIC_NOT_EXIST = 17;
    public static final int SUBSCRIPTION_PARSE_FAILED = 23;
    public static final int CONSUMER_NOT_ONLINE = 206;

    private Codes() {
    }
}
